#include <chrono>
#include <cstdio>
#include <format>
#include <nlohmann/json.hpp>
#include <optional>

#include "controller/campaign/measuring.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/farm_question.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/config/device_profile.hpp"
#include "protocol/random_hex.hpp"

namespace finch::controller {
namespace {

struct CalibrateOptions {
  std::vector<std::string> devices;  // empty: all that are connected, or this machine
  std::string runtime = "onnxruntime", tier = "screen";
  bool json = false;
};

struct Calibrated {
  std::string device;
  protocol::Calibration calibration;

  // What crashed or was cut short has none.
  bool has_figures() const { return calibration.reference_ms() > 0; }
  // Against the baseline before; nothing: there was none, or there is no figure now.
  std::optional<double> drift() const {
    if (!calibration.has_before_ms() || !has_figures()) return std::nullopt;
    return calibration.reference_ms() / calibration.before_ms() - 1;
  }
};

std::string utc(std::int64_t seconds) {
  return std::format("{:%F %R} UTC", std::chrono::sys_seconds(std::chrono::seconds(seconds)));
}

std::string text_of(const Calibrated& one) {
  const protocol::Calibration& c = one.calibration;
  std::string text =
      one.has_figures() ? std::format("{}: the reference network takes {:.4g} ms [{:.4g}, {:.4g}], {}\n", one.device,
                                      c.reference_ms(), c.ci_low_ms(), c.ci_high_ms(), c.verdict())
                        : std::format("{}: the reference network could not be measured, {}\n", one.device, c.verdict());
  for (const std::string& reason : c.reasons()) text += "  " + reason + "\n";
  if (const auto drift = one.drift()) {
    text += std::format("  {}{:+.1f} % from the {:.4g} ms of {}\n", c.drifted() ? "DRIFTED: " : "", 100 * *drift,
                        c.before_ms(), utc(c.before_taken()));
  }
  if (c.verdict() == "VALID") return text + "  this is its baseline now\n";
  return text + "  disturbed, so it is no baseline; calibrate again when the device has nothing else to do\n";
}

nlohmann::ordered_json value_of(const Calibrated& one) {
  const protocol::Calibration& c = one.calibration;
  nlohmann::ordered_json value = {
      {"device", one.device},
      {"reference_ms", {{"median", c.reference_ms()}, {"ci_low", c.ci_low_ms()}, {"ci_high", c.ci_high_ms()}}},
      {"verdict", c.verdict()},
      {"reasons", std::vector<std::string>(c.reasons().begin(), c.reasons().end())},
      {"state_hash", c.state_hash()},
      {"before", nullptr}};
  if (c.has_before_ms()) {
    value["before"] = {{"reference_ms", c.before_ms()},
                       {"taken", utc(c.before_taken())},
                       {"drift", nullptr},
                       {"drifted", c.drifted()}};
    if (const auto drift = one.drift()) value["before"]["drift"] = *drift;
  }
  return value;
}

std::expected<Calibrated, Error> calibrate_one(const std::string& device, const CalibrateOptions& options,
                                               FarmQuestion& farm) {
  const auto description = farm.device(device);
  if (!description) return std::unexpected(description.error());
  const auto overrides = measure_overrides_of(description->profile());
  if (!overrides) return std::unexpected(overrides.error());
  JobRequest request{.job = {},
                     .target = device,
                     .priority = 90,
                     .depends_on = description->state_hash() + protocol::random_hex(16),
                     .description = std::format("Calibrating {} ({})", device, options.tier)};
  request.job.mutable_calibrate()->set_device(device);
  request.job.mutable_calibrate()->set_runtime(options.runtime);
  request.job.mutable_calibrate()->set_tier(options.tier);
  set_parameters(*request.job.mutable_calibrate(), *overrides);
  const auto result = farm.ask(request);
  if (!result) {
    return std::unexpected(Error{std::format("{}: {}", device, result.error().message), result.error().exit_code});
  }
  return Calibrated{device, result->calibration()};
}

ExitCode calibrate(CalibrateOptions options) {
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  if (options.devices.empty()) {
    const auto known = store->devices();
    if (!known) return fail(known.error());
    for (const DeviceRecord& record : *known) {
      if (record.connected) options.devices.push_back(record.name);
    }
    if (options.devices.empty()) options.devices.push_back("local");
  }
  if (const auto checked = check_devices(options.devices, *store); !checked) return fail(checked.error());
  if (const auto checked = check_local_agent(*home, options.devices); !checked) return fail(checked.error());
  const auto host = FarmHost::start(*home, "local");
  if (!host) return fail(host.error());
  FarmQuestion farm(*home, *store, "calibrate", interrupt.token());
  bool drifted = false;
  auto all = nlohmann::ordered_json::array();
  for (const std::string& device : options.devices) {
    const auto one = calibrate_one(device, options, farm);
    if (!one) return fail(one.error());
    drifted = drifted || one->calibration.drifted();
    if (options.json) {
      all.push_back(value_of(*one));
    } else {
      std::fputs(text_of(*one).c_str(), stdout);
    }
  }
  if (options.json) std::printf("%s\n", all.dump(2).c_str());
  return drifted ? ExitCode::failed : ExitCode::done;
}

}  // namespace

void add_calibrate_command(CLI::App& devices, Command& chosen) {
  const auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command = devices.add_subcommand("calibrate", "Measure what the reference network takes when all is well");
  command->add_option("NAME", options->devices, "Devices (default: all that are connected, or this machine)");
  command->add_option("--runtime", options->runtime, "The runtime whose baseline is taken")->capture_default_str();
  command->add_option("--tier", options->tier, "How long is measured: quick, screen or certify")
      ->check(CLI::IsMember({"quick", "screen", "certify"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "JSON instead of text");
  command->footer(
      "Example:\n  finch devices calibrate pi-kitchen\n"
      "Ends with 1 where a device is more than 2 % off its last baseline.");
  command->callback([&chosen, options] { chosen = [options] { return calibrate(*options); }; });
}

}  // namespace finch::controller
