// The boards of a campaign: waited for, met, put together to pools, and chosen for each measurement. What a board was
// when it was met is part of every job for it; a board that has changed meanwhile refuses, and is met anew.
#include <algorithm>
#include <filesystem>
#include <format>

#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/measuring.hpp"

namespace finch::controller {
namespace {

constexpr double kBoardsAgree = 0.02;  // as two measurements of a healthy board do
constexpr double kWaitForAll = 10;     // seconds, for the whole pool; then it begins with the boards that are there

std::string changes_between(const protocol::DeviceDescription& before, const protocol::DeviceDescription& now) {
  std::string changes;
  const auto compare = [&](const std::string& what, const std::string& was, const std::string& is) {
    if (was != is) changes += std::format("{}{} {} -> {}", changes.empty() ? "" : ", ", what, was, is);
  };
  const auto builder = [](const protocol::RuntimeDescription& runtime) {
    return runtime.engine_builder().empty() ? "" : " with " + runtime.engine_builder();
  };
  compare("system", before.operating_system(), now.operating_system());
  compare("kernel", before.kernel(), now.kernel());
  compare("firmware", before.firmware(), now.firmware());
  compare("governor", before.governor(), now.governor());
  compare("power mode", before.power_mode(), now.power_mode());
  compare("GPU", before.gpu(), now.gpu());
  for (const protocol::RuntimeDescription& runtime : now.runtimes()) {
    const auto was = std::ranges::find(before.runtimes(), runtime.name(), &protocol::RuntimeDescription::name);
    if (was != before.runtimes().end())
      compare(runtime.name(), was->version() + builder(*was), runtime.version() + builder(runtime));
  }
  return changes.empty() ? "its hardware, its settings or its runtime" : changes;
}

}  // namespace

bool CampaignRun::devices_are_there() const {
  return std::ranges::all_of(state_.config.devices, [this](const DeviceConfig& device) {
    return state_.has_met(device) &&
           std::ranges::any_of(device.all_boards(), [this](const std::string& board) { return met_.contains(board); });
  });
}

CampaignRun::Step CampaignRun::find_devices(FarmStore& store) {
  const auto all_met = [this](const DeviceConfig& device) {
    return std::ranges::all_of(device.all_boards(), [this](const std::string& board) { return met_.contains(board); });
  };
  if (!std::ranges::all_of(state_.config.devices, all_met)) {
    const auto devices = store.devices();
    if (!devices) return std::unexpected(devices.error());
    std::string missing;
    for (const DeviceConfig& wanted : state_.config.devices) {
      for (const std::string& board : wanted.all_boards()) {
        if (met_.contains(board)) continue;
        const auto found = std::ranges::find_if(
            *devices, [&](const DeviceRecord& device) { return device.name == board && device.connected; });
        if (found == devices->end()) {
          missing += (missing.empty() ? "'" : ", '") + board + "'";
          continue;
        }
        protocol::DeviceDescription device;
        device.ParseFromString(found->description);
        if (auto met = meet_device(wanted, device); !met) return met;
      }
    }
    if (!missing.empty() && !waiting_said_ && now() - base_seconds_ > 5) {
      waiting_said_ = true;
      say(std::format("waiting for {} to connect; see: finch devices", missing));
    }
  }
  for (const DeviceConfig& device : state_.config.devices) {
    const bool waits = !all_met(device) && now() - base_seconds_ < kWaitForAll;
    if (!device.is_pool() || (waits && !state_.pools.contains(device.name))) continue;
    if (auto settled = settle_pool(device); !settled) return settled;
  }
  return {};
}

CampaignRun::Step CampaignRun::meet_device(const DeviceConfig& wanted, const protocol::DeviceDescription& device) {
  if (auto checked = check_device(wanted, device); !checked) return checked;
  met_.insert(device.name());
  const auto known = state_.devices.find(device.name());
  const bool is_new = known == state_.devices.end();
  if (!is_new && std::ranges::all_of(campaign_runtimes(state_.config), [&](const std::string& runtime) {
        return device_state(known->second, runtime) == device_state(device, runtime);
      }))
    return {};
  if (!is_new) {
    const std::string text = std::format(
        "device {} changed after {:.0f} s ({}): a new epoch; {}, and finalists are measured anew in the new one",
        device.name(), now(), changes_between(known->second, device),
        wanted.is_pool() ? "its pool compares by the ratio to the reference network, which is calibrated anew"
                         : "the search goes on with candidates of both, whose latencies are as measured");
    say(text);
    if (auto noted = note(text); !noted) return noted;
  }
  const bool several = state_.config.devices.size() > 1 || wanted.is_pool();
  for (const std::string& reason : device.cannot_measure()) {
    if (auto noted = note("not measured" + (several ? " on " + device.name() : "") + ": " + reason); !noted)
      return noted;
  }
  say(std::format("device {}: {}, {} cores, {} {}", device.name(), device.cpu_model(), device.cores(),
                  device.runtimes(0).name(), device.runtimes(0).version()));
  return record("device", {{"device", to_json(device)}, {"new_epoch", !is_new}});
}

// Calibrates the boards that have no baseline in their present state. The first baselines say what the pool's typical
// board is.
CampaignRun::Step CampaignRun::settle_pool(const DeviceConfig& device) {
  const auto known = state_.pools.find(device.name);
  BoardPool pool = known == state_.pools.end() ? BoardPool{} : known->second;
  const std::string& runtime = state_.config.deploy.runtime;
  bool changed = false, waits = false;
  for (const std::string& board : device.boards) {
    if (!met_.contains(board) || pool.baseline_ms.contains(board)) continue;
    const protocol::DeviceDescription& description = state_.devices.at(board);
    const auto has = std::ranges::find(description.runtimes(), runtime, &protocol::RuntimeDescription::name);
    if (has->baseline_ms() > 0) {
      pool.baseline_ms[board] = has->baseline_ms();
      changed = true;
      continue;
    }
    const auto baseline = calibrate(device, description);
    if (!baseline) return std::unexpected(baseline.error());
    waits = waits || !*baseline;
    if (!*baseline) continue;
    pool.baseline_ms[board] = **baseline;
    changed = true;
  }
  // The scale is of all boards that are there.
  if (!changed || (waits && pool.reference_ms == 0)) return {};
  if (pool.reference_ms == 0) {
    std::vector<double> baselines;
    for (const auto& [board, baseline_ms] : pool.baseline_ms) baselines.push_back(baseline_ms);
    pool.reference_ms = geometric_median(std::move(baselines));
  }
  for (const auto& [board, baseline_ms] : pool.baseline_ms)
    say(std::format("board {} of {}: {:+.1f} %", board, device.name, 100 * pool.effect_of(board)));
  return record("pool",
                {{"device", device.name}, {"reference_ms", pool.reference_ms}, {"baseline_ms", pool.baseline_ms}});
}

// What the reference network takes there; nothing: it is being measured. A disturbed figure will do here: the search
// compares by ratios of its own.
std::expected<std::optional<double>, Error> CampaignRun::calibrate(const DeviceConfig& device,
                                                                   const protocol::DeviceDescription& board) {
  for (int attempt = 1; attempt <= kMeasurementAttempts; ++attempt) {
    JobRequest request{.job = {},
                       .target = board.name(),
                       .priority = 95,
                       .depends_on = state_of_attempt(board, state_.config.deploy.runtime, attempt),
                       .description = "calibrating " + board.name()};
    request.job.mutable_calibrate()->set_device(board.name());
    request.job.mutable_calibrate()->set_runtime(state_.config.deploy.runtime);
    request.job.mutable_calibrate()->set_tier(state_.config.measure.search_tier);
    set_parameters(*request.job.mutable_calibrate(), device.measure);
    const auto done = board_->result_of(request);
    if (!done) return std::unexpected(done.error());
    if (!*done) return std::nullopt;
    if ((*done)->result.has_failure()) return std::unexpected(Error{(*done)->result.failure().message()});
    const protocol::Calibration& calibration = (*done)->result.calibration();
    if (calibration.reference_ms() <= 0 || calibration.verdict() == "INVALID") continue;
    if (calibration.verdict() != "VALID") {
      std::string reasons;
      for (const std::string& reason : calibration.reasons()) reasons += (reasons.empty() ? "" : ", ") + reason;
      if (auto noted =
              note(std::format("the calibration of {} is {}: {}", board.name(), calibration.verdict(), reasons));
          !noted)
        return std::unexpected(noted.error());
    }
    return calibration.reference_ms();
  }
  return std::unexpected(Error{std::format(
      "board '{}' cannot be calibrated: {} attempts were INVALID; see: finch devices calibrate {}, or take it "
      "out of the pool '{}'",
      board.name(), kMeasurementAttempts, board.name(), device.name)});
}

std::expected<std::optional<JobOutcome>, Error> CampaignRun::ask_device(const DeviceConfig& device,
                                                                        const BoardRequest& request_on,
                                                                        const std::vector<std::string>& boards) {
  std::vector<JobRequest> choices;
  for (const std::string& board : boards) choices.push_back(request_on(state_.devices.at(board)));
  if (choices.empty()) return std::nullopt;  // a board that changed is being calibrated
  const auto chosen = board_->choose(choices);
  if (!chosen) return std::unexpected(chosen.error());
  const JobRequest& request = choices[*chosen];
  auto done = board_->result_of(request);
  if (!done || !*done || !(*done)->result.has_failure() || !(*done)->result.has_device()) return done;
  board_->forget(request);
  if (auto met = meet_device(device, (*done)->result.device()); !met) return std::unexpected(met.error());
  return std::nullopt;
}

std::optional<MeasurementInfo::Pooled> CampaignRun::pooled_info(const protocol::Measurement& measurement,
                                                                const DeviceConfig& device) const {
  const auto pool = state_.pools.find(device.name);
  if (pool == state_.pools.end()) return std::nullopt;
  const protocol::Measurement typical = pooled(measurement, pool->second.reference_ms);
  const bool calibrated = pool->second.baseline_ms.contains(measurement.device());
  return MeasurementInfo::Pooled{.pool = device.name,
                                 .effect = calibrated ? pool->second.effect_of(measurement.device()) : 0,
                                 .median_ms = typical.latency_median_ms(),
                                 .ci_low_ms = typical.latency_ci_low_ms(),
                                 .ci_high_ms = typical.latency_ci_high_ms()};
}

std::string CampaignRun::disagreement(const FinalistFile& file, const DeviceConfig& device) const {
  if (!device.is_pool()) return {};
  std::vector<std::pair<double, std::string>> boards;
  for (const FinalistFile::Measured& measured : file.measurements.at(device.name)) {
    const protocol::Measurement& m = measured.measurement;
    boards.emplace_back(state_.compared(m, device.name).latency_median_ms(), m.device());
  }
  const auto [fastest, slowest] = std::ranges::minmax(boards);
  if (slowest.first <= (1 + kBoardsAgree) * fastest.first) return {};
  return std::format("on {} it is {:.1f} % slower than on {}, what the boards differ by already taken out",
                     slowest.second, 100 * (slowest.first / fastest.first - 1), fastest.second);
}

// Whether the campaign can have there what it asks for.
CampaignRun::Step CampaignRun::check_device(const DeviceConfig& wanted,
                                            const protocol::DeviceDescription& device) const {
  const auto offers = [](const auto& list, const std::string& name) {
    return std::ranges::find(list, name) != list.end();
  };
  const std::string profile = std::filesystem::path(wanted.profile).stem().string();
  if (wanted.is_pool() && device.profile() != profile) {
    return std::unexpected(Error{
        std::format("{}: device.boards: '{}' has joined with the profile '{}', and the pool '{}' is of '{}'; name "
                    "boards of one profile",
                    state_.config.file.string(), device.name(), device.profile(), wanted.name, profile),
        ExitCode::usage});
  }
  const bool first = wanted.name == state_.config.devices.front().name;
  const bool by_steps = first && state_.config.finalists.pipeline.gain == "energy";
  if ((state_.wants_energy(wanted.name) || by_steps) && !offers(device.measures(), "energy")) {
    std::string why;
    for (const std::string& reason : device.cannot_measure()) {
      if (reason.starts_with("energy")) why = " (" + reason + ")";
    }
    return std::unexpected(Error{
        std::format("{}: {} asks for energy, but device '{}' cannot measure "
                    "it{}; take energy out, or use a device with a power sensor",
                    state_.config.file.string(),
                    state_.wants_energy(wanted.name) ? "search.objectives" : "finalists.gain", device.name(), why),
        ExitCode::usage});
  }
  const DeployConfig& deploy = state_.config.deploy;
  for (const std::string& name : campaign_runtimes(state_.config)) {
    if (std::ranges::contains(device.runtimes(), name, &protocol::RuntimeDescription::name)) continue;
    return std::unexpected(Error{
        std::format("device '{}' has no {}; install it there (scripts/install-runtime {}{}) or name its library: "
                    "finch-agent --{} PATH",
                    device.name(), name, name, name == "onnxruntime" ? "; Debian: libonnxruntime1.21" : "", name)});
  }
  const auto runtime = std::ranges::find(device.runtimes(), deploy.runtime, &protocol::RuntimeDescription::name);
  if (!offers(runtime->providers(), wanted.provider)) {
    std::string known;
    for (const std::string& provider : runtime->providers()) known += (known.empty() ? "" : ", ") + provider;
    return std::unexpected(
        Error{std::format("{}: deploy.provider: {} on device '{}' offers {}, not '{}'", state_.config.file.string(),
                          deploy.runtime, device.name(), known, wanted.provider),
              ExitCode::usage});
  }
  return {};
}

}  // namespace finch::controller
