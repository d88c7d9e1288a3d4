#include "agent/measure.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <format>
#include <optional>
#include <span>
#include <utility>

#include "agent/latency_statistics.hpp"
#include "agent/launch.pb.h"
#include "agent/measure_energy.hpp"
#include "agent/measure_stability.hpp"
#include "agent/start_temperature.hpp"
#include "agent/verdict.hpp"

namespace finch::agent {
namespace {

constexpr double kAlpha = 0.05;

// All launches of one session, joined.
struct Session {
  std::vector<double> candidate_ms;
  std::vector<double> candidate_median_ms;
  std::vector<double> reference_median_ms;
  std::optional<Interval> log_ratio;
  double alpha = kAlpha;  // of the look that ended it
  int launches = 0;
  int unsettled = 0;
  MachineLoad load;
  std::vector<double> signature;
  bool signatures_agree = true;
  bool outputs_finite = true;
  std::string runtime_version;
  std::vector<std::string> providers;
  std::vector<Placement> placements;

  std::optional<double> half_width() const {
    if (!log_ratio) return std::nullopt;
    return std::expm1((log_ratio->high - log_ratio->low) / 2);
  }
};

bool same_signature(std::span<const double> a, std::span<const double> b, double tolerance) {
  return std::ranges::equal(a, b, [tolerance](double x, double y) {
    return std::abs(x - y) <= tolerance * std::max({1.0, std::abs(x), std::abs(y)}) || (std::isnan(x) && std::isnan(y));
  });
}

// The mean of both, weighted by their times: a tick of the kernel (10 ms) is too much of a single short launch.
void join_load(const MachineLoad& load, MachineLoad& joined) {
  const double weight = load.seconds() / (joined.seconds() + load.seconds());
  const auto mix = [weight](double old_share, double new_share) {
    return old_share + weight * (new_share - old_share);
  };
  if (load.has_foreign_cpu()) joined.set_foreign_cpu(mix(joined.foreign_cpu(), load.foreign_cpu()));
  if (load.has_cpu_pressure()) joined.set_cpu_pressure(mix(joined.cpu_pressure(), load.cpu_pressure()));
  if (load.has_memory_pressure()) joined.set_memory_pressure(mix(joined.memory_pressure(), load.memory_pressure()));
  if (load.has_io_pressure()) joined.set_io_pressure(mix(joined.io_pressure(), load.io_pressure()));
  joined.set_seconds(joined.seconds() + load.seconds());
}

void join_launch(const LatencyResult& result, double signature_tolerance, Session& session) {
  const auto append = [](const auto& from, std::vector<double>& to) { to.insert(to.end(), from.begin(), from.end()); };
  append(result.candidate_ms(), session.candidate_ms);
  append(result.candidate_median_ms(), session.candidate_median_ms);
  append(result.reference_median_ms(), session.reference_median_ms);
  const std::vector<double> signature(result.signature().begin(), result.signature().end());
  if (session.launches == 0) {
    session.signature = signature;
  } else if (!same_signature(session.signature, signature, signature_tolerance)) {
    session.signatures_agree = false;
  }
  session.outputs_finite = session.outputs_finite && result.outputs_finite();
  if (!result.warm_up_settled()) ++session.unsettled;
  if (result.load().seconds() > 0) join_load(result.load(), session.load);
  session.runtime_version = result.runtime_version();
  session.providers.assign(result.providers().begin(), result.providers().end());
  session.placements.assign(result.placements().begin(), result.placements().end());
  ++session.launches;
}

LaunchRequest base_request(const std::filesystem::path& model, const protocol::Deploy& deploy, const MeasureTier& tier,
                           const MeasureSettings& settings) {
  LaunchRequest request;
  *request.mutable_wishes() = tier.wishes;
  request.set_runtime(deploy.runtime());
  request.set_library(library_of(settings.libraries, deploy.runtime()));
  request.set_model(model.string());
  request.set_provider(deploy.provider());
  request.set_threads(deploy.threads());
  request.set_batch(deploy.batch());
  request.set_root(settings.files.root().string());
  for (const protocol::InputShape& shape : settings.shapes) *request.add_shapes() = shape;
  // Other tasks put themselves in this one's place.
  request.mutable_latency()->set_rival(settings.rival.string());
  return request;
}

struct BuiltEngines {
  double seconds = 0;
  std::vector<std::string> notes;
};

// Of the candidate and of a rival; `base` then says where they lie.
std::expected<BuiltEngines, Error> build_engines(LaunchRequest& base, const MeasureSettings& settings,
                                                 const std::function<void(double, const std::string&)>& report,
                                                 const std::stop_token& stop) {
  BuiltEngines built;
  const auto build = [&](const std::string& model) -> std::expected<std::string, Error> {
    LaunchRequest request = base;
    request.set_model(model);
    auto engine =
        prepare_engine(request, settings.engines, settings.launcher, [&] { report(0, "building the engine"); }, stop);
    if (!engine) return std::unexpected(engine.error());
    built.seconds += engine->build_seconds;
    if (!engine->problem.empty()) built.notes.push_back(engine->problem + "; each launch builds it anew");
    return engine->folder.string();
  };
  const auto candidate = build(base.model());
  if (!candidate) return std::unexpected(candidate.error());
  base.set_engine_folder(*candidate);
  if (!base.latency().rival().empty()) {
    const auto rival = build(base.latency().rival());
    if (!rival) return std::unexpected(rival.error());
    base.mutable_latency()->set_rival_engine_folder(*rival);
  }
  if (built.seconds > 0)
    built.notes.push_back(std::format("building the engine took {:.1f} s before this; it is kept", built.seconds));
  return built;
}

LaunchRequest latency_request(const LaunchRequest& base, const MeasureTier& tier, const MeasureSettings& settings) {
  LaunchRequest request = base;
  LatencyTask& task = *request.mutable_latency();
  task.set_rounds(tier.rounds_per_launch);
  task.set_candidate_block_seconds(tier.candidate_block.count());
  task.set_reference_block_seconds(tier.reference_block.count());
  task.set_candidate_block_queries(tier.candidate_block_queries);
  task.set_warm_up_minimum_seconds(tier.warm_up.minimum.count());
  task.set_warm_up_cap_seconds(tier.warm_up.cap.count());
  task.set_warm_up_agreement(tier.warm_up.agreement);
  task.set_warm_up_runs(tier.warm_up.minimum_runs);
  // A rival needs as much time as the candidate.
  if (!settings.rival.empty()) task.set_reference_block_seconds(tier.candidate_block.count());
  return request;
}

// Launches until a look finds the interval narrow enough, or the last look is over.
std::expected<Session, Error> run_session(const LaunchRequest& base, const MeasureTier& tier,
                                          const MeasureSettings& settings,
                                          const std::function<void(int, double)>& on_launch,
                                          const std::stop_token& stop) {
  Session session;
  LaunchRequest request = latency_request(base, tier, settings);
  LatencyTask& task = *request.mutable_latency();
  session.alpha = alpha_of_look(kAlpha, static_cast<int>(tier.looks.size()));
  for (const int look : tier.looks) {
    while (static_cast<int>(session.candidate_median_ms.size()) < look) {
      task.set_seed(static_cast<std::uint64_t>(session.launches));
      auto event = settings.launcher(request, [&](double share) { on_launch(session.launches, share); }, stop);
      if (!event) return std::unexpected(event.error());
      if (!event->has_latency() || event->latency().candidate_median_ms_size() != tier.rounds_per_launch ||
          event->latency().reference_median_ms_size() != tier.rounds_per_launch) {
        return std::unexpected(Error{"the measuring process gave an incomplete result", true});
      }
      join_launch(event->latency(), tier.limits.signature, session);
    }
    session.log_ratio =
        median_interval(paired_log_ratios(session.candidate_median_ms, session.reference_median_ms), session.alpha);
    if (session.half_width() && *session.half_width() <= tier.half_width) break;
  }
  return session;
}

std::optional<double> given(bool has, double value) {
  return has ? std::optional(value) : std::nullopt;
}

void take_load(const MachineLoad& load, Evidence& evidence) {
  evidence.foreign_cpu = given(load.has_foreign_cpu(), load.foreign_cpu());
  evidence.cpu_pressure = given(load.has_cpu_pressure(), load.cpu_pressure());
  evidence.memory_pressure = given(load.has_memory_pressure(), load.memory_pressure());
  evidence.io_pressure = given(load.has_io_pressure(), load.io_pressure());
}

// The long run: its energy where the board has a sensor of its whole power, opened only here so that no meter runs
// beside the latencies; without one only its frames, and only at a rate. Nothing: neither is wanted.
std::expected<std::optional<EnergyOutcome>, Error> run_long(const LaunchRequest& base, const MeasureTier& tier,
                                                            const Session& session, const MeasureSettings& settings,
                                                            const std::function<void(double)>& on_progress,
                                                            const std::stop_token& stop) {
  EnergyPlan plan = tier.energy;
  plan.rate_hz = settings.rate_hz;
  for (const auto& sensor : find_power_sensors(settings.files, settings.power)) {
    if (sensor->total_rails().empty()) continue;
    auto outcome = measure_energy(base, plan, tier.warm_up, *sensor, median(session.candidate_median_ms),
                                  tier.half_width, settings.launcher, on_progress, stop);
    if (!outcome) return std::unexpected(outcome.error());
    return std::move(*outcome);
  }
  if (settings.rate_hz <= 0) return std::nullopt;
  auto event = settings.launcher(steady_request(base, plan, tier.warm_up), on_progress, stop);
  if (!event) return std::unexpected(event.error());
  return EnergyOutcome{.run = std::move(*event->mutable_steady())};
}

void fill_long_run(const EnergyOutcome& outcome, double rate_hz, protocol::Measurement& measurement) {
  if (outcome.gross_mj) {
    measurement.set_energy_gross_mj(*outcome.gross_mj);
    measurement.set_energy_net_mj(*outcome.net_mj);
    measurement.set_energy_provenance(std::string(name_of(outcome.provenance)));
  }
  const std::vector<double> latencies(outcome.run.latency_ms().begin(), outcome.run.latency_ms().end());
  if (rate_hz <= 0 || latencies.empty()) return;
  protocol::AtRate& rate = *measurement.mutable_at_rate();
  rate.set_rate_hz(rate_hz);
  rate.set_frames(static_cast<std::int64_t>(latencies.size()));
  rate.set_missed_deadlines(outcome.run.missed_deadlines());
  rate.set_latency_median_ms(median(latencies));
  rate.set_latency_p99_ms(early_stopping_percentile(latencies, 0.99).value_or(0));
}

void fill_latency(const Session& session, protocol::Measurement& measurement, std::vector<std::string>& notes) {
  const double middle = median(session.candidate_median_ms);
  measurement.set_latency_median_ms(middle);
  const auto interval = median_interval(session.candidate_median_ms, session.alpha);
  measurement.set_latency_ci_low_ms(interval ? interval->low : 0);
  measurement.set_latency_ci_high_ms(interval ? interval->high : 0);
  measurement.set_runs(static_cast<std::int64_t>(session.candidate_ms.size()));
  measurement.set_reference_median_ms(median(session.reference_median_ms));
  if (session.log_ratio) {
    measurement.set_reference_ratio_median(std::exp(session.log_ratio->median));
    measurement.set_reference_ratio_ci_low(std::exp(session.log_ratio->low));
    measurement.set_reference_ratio_ci_high(std::exp(session.log_ratio->high));
  }
  const auto percentile = [&](double share, const char* name) {
    const auto estimate = early_stopping_percentile(session.candidate_ms, share);
    if (!estimate) {
      notes.push_back(std::format("{} not given: it needs {} queries and there were {}", name,
                                  early_stopping_minimum_queries(share), session.candidate_ms.size()));
    }
    return estimate.value_or(0);
  };
  measurement.set_latency_p90_ms(percentile(0.90, "p90"));
  measurement.set_latency_p99_ms(percentile(0.99, "p99"));
}

// What the asked provider has left to others.
void note_placements(const std::vector<Placement>& placements, const std::string& provider,
                     std::vector<std::string>& notes) {
  std::int64_t nodes = 0;
  for (const Placement& placed : placements) nodes += placed.nodes();
  for (const Placement& placed : placements) {
    if (placed.provider() == provider) continue;
    std::string operators;
    for (const std::string& operation : placed.operators()) operators += (operators.empty() ? ": " : ", ") + operation;
    notes.push_back(std::format("{} of {} nodes run on provider {}, not on {}{}", placed.nodes(), nodes,
                                placed.provider(), provider, operators));
  }
}

// After the verdict, which is on the quiet part: what the model does in bad company.
std::expected<void, Error> add_stability(const LaunchRequest& base, const MeasureTier& tier,
                                         const MeasureSettings& settings, const Session& session,
                                         const std::function<void(double, const std::string&)>& report,
                                         protocol::Measurement& measurement, const std::stop_token& stop) {
  MeasureTier one = tier;
  one.rounds_per_launch = tier.stability->rounds;
  auto outcome = measure_stability(
      {.latency = latency_request(base, one, settings),
       .steady = steady_request(base, {.load = tier.stability->curve, .rate_hz = settings.rate_hz}, tier.warm_up),
       .quiet_ms = median(session.candidate_median_ms),
       .slope_celsius = tier.limits.slope_celsius},
      *tier.stability, settings.files, settings.launcher, [&](const std::string& what) { report(0.99, what); }, stop);
  if (!outcome) return std::unexpected(outcome.error());
  for (protocol::Condition& condition : outcome->conditions) *measurement.add_conditions() = std::move(condition);
  measurement.mutable_minute_median_ms()->Add(outcome->minute_median_ms.begin(), outcome->minute_median_ms.end());
  return {};
}

// A model that crashes, hangs or wants too much is a measurement too: one without figures, and with the reason.
std::expected<MeasureOutcome, Error> verdict_on(const Error& error, const protocol::Deploy& deploy,
                                                const MeasureTier& tier, std::chrono::steady_clock::time_point start) {
  if (!error.model_failed) return std::unexpected(error);
  MeasureOutcome outcome;
  protocol::Measurement& measurement = outcome.measurement;
  measurement.mutable_runtime()->set_name(deploy.runtime());
  measurement.set_tier(tier.name);
  *measurement.mutable_deploy() = deploy;
  measurement.set_verdict("INVALID");
  measurement.add_reasons(error.message);
  if (deploy.provider() != "cpu") {
    measurement.add_reasons(
        std::format("it ran with provider {0} of {1}: provider cpu, or another build (--{1} PATH), "
                    "may do better",
                    deploy.provider(), deploy.runtime()));
  }
  measurement.set_seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return outcome;
}

}  // namespace

std::expected<void, Error> check_deploy(const protocol::Deploy& deploy) {
  if (find_runtime(deploy.runtime()) == nullptr) {
    return std::unexpected(Error{
        std::format("runtime '{}' is not supported by this agent; use one of {}", deploy.runtime(), runtime_names())});
  }
  if (deploy.threads() < 1 || deploy.threads() > 1024) {
    return std::unexpected(Error{std::format("deploy asks for {} threads; use 1 to 1024", deploy.threads())});
  }
  if (deploy.batch() < 1) {
    return std::unexpected(Error{std::format("deploy asks for batch {}; use 1 or more", deploy.batch())});
  }
  return {};
}

std::expected<MeasureOutcome, Error> measure(const std::filesystem::path& model, const protocol::Deploy& deploy,
                                             const MeasureTier& tier, const MeasureSettings& settings,
                                             std::stop_token stop) {
  if (auto good = check_deploy(deploy); !good) return std::unexpected(good.error());
  auto start = std::chrono::steady_clock::now();
  LaunchRequest base = base_request(model, deploy, tier, settings);
  const auto report = [&](double share, const std::string& what) {
    if (settings.on_progress) settings.on_progress(share, what);
  };

  const auto engines = build_engines(base, settings, report, stop);
  if (!engines) return verdict_on(engines.error(), deploy, tier, start);
  start = std::chrono::steady_clock::now();

  const auto start_doubt = wait_for_start_temperature(
      settings.files, settings.start_celsius, tier.limits,
      [&](double celsius) { report(0, std::format("cooling down from {:.1f} °C", celsius)); }, stop);
  if (!start_doubt) return std::unexpected(start_doubt.error());

  // Memory first: it also finds out cheaply whether the model loads and runs at all.
  report(0, "memory");
  LaunchRequest memory_request = base;
  memory_request.mutable_memory()->set_runs(tier.memory_runs);
  const auto memory = settings.launcher(memory_request, {}, stop);
  if (!memory) return verdict_on(memory.error(), deploy, tier, start);

  const DeviceState before = read_device_state(settings.files);
  std::vector<DeviceState> during;
  const int first_look_launches = tier.looks.front() / tier.rounds_per_launch;
  const double expected_launches = first_look_launches + (tier.second_launches > 0 ? 1 : 0);
  const auto on_launch = [&](int launch, double share) {
    during.push_back(read_device_state(settings.files));
    report(std::min(0.05 + 0.95 * (launch + share) / expected_launches, 0.99), std::format("launch {}", launch + 1));
  };
  auto session = run_session(base, tier, settings, on_launch, stop);
  if (!session) return verdict_on(session.error(), deploy, tier, start);

  Evidence evidence{.limits = tier.limits, .start_doubt = *start_doubt};
  if (tier.second_launches > 0) {
    // Shorter than the first: it only has to find the same median.
    MeasureTier second = tier;
    second.rounds_per_launch = 4;
    second.candidate_block = Seconds(0.5);
    second.candidate_block_queries = 1;
    second.looks = {second.rounds_per_launch * tier.second_launches};
    const auto again = run_session(
        base, second, settings, [&](int, double) { during.push_back(read_device_state(settings.files)); }, stop);
    if (!again) return verdict_on(again.error(), deploy, tier, start);
    evidence.second_session_difference = median(again->candidate_median_ms) / median(session->candidate_median_ms) - 1;
    session->signatures_agree = session->signatures_agree && again->signatures_agree &&
                                same_signature(session->signature, again->signature, tier.limits.signature);
    if (again->load.seconds() > 0) join_load(again->load, session->load);
    session->unsettled += again->unsettled;
    session->launches += again->launches;
  }

  const auto long_run = run_long(
      base, tier, *session, settings,
      [&](double share) {
        during.push_back(read_device_state(settings.files));
        report(0.99, std::format("long run, {:.0f} %", 100 * share));
      },
      stop);
  if (!long_run) return verdict_on(long_run.error(), deploy, tier, start);
  if (*long_run) evidence.energy_doubts = (*long_run)->doubts;

  evidence.changes = compare_states(before, during, read_device_state(settings.files), tier.limits.slope_celsius);
  evidence.signatures_agree = session->signatures_agree;
  evidence.outputs_finite = session->outputs_finite;
  evidence.unsettled_launches = session->unsettled;
  evidence.launches = session->launches;
  take_load(session->load, evidence);
  evidence.half_width = session->half_width();
  evidence.half_width_wanted = tier.half_width;
  const bool against_baseline = settings.baseline_ms > 0 && settings.rival.empty();
  if (against_baseline) evidence.reference_off = median(session->reference_median_ms) / settings.baseline_ms - 1;
  Verdict verdict = judge(evidence);

  MeasureOutcome outcome;
  protocol::Measurement& measurement = outcome.measurement;
  measurement.mutable_runtime()->set_name(deploy.runtime());
  measurement.mutable_runtime()->set_version(session->runtime_version);
  for (const std::string& provider : session->providers) measurement.mutable_runtime()->add_providers(provider);
  measurement.set_tier(tier.name);
  *measurement.mutable_deploy() = deploy;
  measurement.set_verdict(verdict.name);
  fill_latency(*session, measurement, verdict.reasons);
  if (against_baseline) measurement.set_baseline_ms(settings.baseline_ms);
  note_placements(session->placements, deploy.provider(), verdict.reasons);
  if (memory->memory().problem().empty()) {
    measurement.set_load_peak_bytes(memory->memory().load_peak_bytes());
    measurement.set_run_peak_bytes(memory->memory().run_peak_bytes());
    measurement.set_runtime_bytes(memory->memory().runtime_bytes());
  } else {
    verdict.reasons.push_back("peak memory not known: " + memory->memory().problem());
  }
  measurement.set_engine_build_seconds(engines->seconds);
  verdict.reasons.insert(verdict.reasons.end(), engines->notes.begin(), engines->notes.end());
  if (*long_run) fill_long_run(**long_run, settings.rate_hz, measurement);
  if (tier.stability) {
    if (auto added = add_stability(base, tier, settings, *session, report, measurement, stop); !added)
      return std::unexpected(added.error());
  }
  for (std::string& reason : verdict.reasons) measurement.add_reasons(std::move(reason));
  measurement.set_seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  outcome.latencies_ms = std::move(session->candidate_ms);
  return outcome;
}

std::string encode_latencies(const std::vector<double>& latencies_ms) {
  std::string bytes(latencies_ms.size() * sizeof(double), '\0');
  for (std::size_t i = 0; i < latencies_ms.size(); ++i) {
    auto bits = std::bit_cast<std::uint64_t>(latencies_ms[i]);
    if constexpr (std::endian::native == std::endian::big) bits = std::byteswap(bits);
    std::memcpy(&bytes[i * sizeof bits], &bits, sizeof bits);
  }
  return bytes;
}

}  // namespace finch::agent
