#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <format>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "controller/campaign/drift_watch.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/watch_store.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/farm_question.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/config/device_profile.hpp"
#include "controller/report/watch_metrics.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/model_format.hpp"

extern char** environ;

namespace finch::controller {
namespace {

constexpr std::chrono::seconds kLook{2};  // for models that are due and devices that are idle
constexpr std::int64_t kComesBack = 30;   // seconds that --once waits for a device to connect

struct WatchOptions {
  std::string model, name, device;
  std::vector<std::string> devices = {"local"};
  std::string runtime, provider = "cpu", precision = "fp32", tier = "screen";
  int threads = 1;
  double every_hours = 24;
  bool once = false, json = false;
  std::string on_alarm, metrics;
};

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string utc(std::int64_t seconds) {
  return std::format("{:%F %R} UTC", std::chrono::sys_seconds(std::chrono::seconds(seconds)));
}

std::expected<WatchStore, Error> open_watch() {
  return open_home().and_then([](const Home& home) { return WatchStore::open(home.watch_db()); });
}

// A model's file, or a bundle of `finch pick`.
std::expected<std::filesystem::path, Error> model_file(const std::filesystem::path& given) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(given, ignored)) return given;
  for (const char* name : {"model.onnx", "model.tflite"}) {
    if (std::filesystem::is_regular_file(given / name, ignored)) return given / name;
  }
  return std::unexpected(
      Error{std::format("{}: neither a model's file nor a bundle of finch pick", given.string()), ExitCode::usage});
}

ExitCode add(const WatchOptions& options) {
  const auto file = model_file(options.model);
  if (!file) return fail(file.error());
  const auto home = open_home();
  if (!home) return fail(home.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  if (const auto checked = check_devices(options.devices, *store); !checked) return fail(checked.error());
  protocol::ArtifactStore artifacts(home->artifacts());
  const auto hash = artifacts.add_file(*file);
  if (!hash) return fail({hash.error().message});
  auto watch = WatchStore::open(home->watch_db());
  if (!watch) return fail(watch.error());
  WatchedModel model;
  model.name = options.name.empty() ? std::filesystem::absolute(options.model).lexically_normal().filename().string()
                                    : options.name;
  model.job.mutable_model()->set_sha256(*hash);
  model.job.mutable_model()->set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(*file)));
  protocol::Deploy& deploy = *model.job.mutable_deploy();
  const std::string format = file->extension() == ".tflite" ? "tflite" : "onnx";
  deploy.set_runtime(options.runtime.empty() ? std::string(protocol::usual_runtime(format)) : options.runtime);
  deploy.set_provider(options.provider);
  deploy.set_precision(options.precision);
  deploy.set_threads(options.threads);
  deploy.set_batch(1);
  model.job.set_tier(options.tier);
  for (const std::string& device : options.devices) {
    model.device = device;
    model.job.set_device(device);
    if (const auto added = watch->add(model); !added) return fail(added.error());
    std::printf("%s is watched on %s from the next finch watch run on\n", model.name.c_str(), device.c_str());
  }
  return ExitCode::done;
}

ExitCode list(const WatchOptions& options) {
  auto watch = open_watch();
  if (!watch) return fail(watch.error());
  const auto models = watch->all();
  if (!models) return fail(models.error());
  auto all = nlohmann::ordered_json::array();
  if (!options.json && models->empty()) std::printf("Nothing is watched. Begin with: finch watch add MODEL\n");
  for (const WatchedModel& model : *models) {
    if (options.json) {
      all.push_back({{"name", model.name},
                     {"device", model.device},
                     {"sha256", model.job.model().sha256()},
                     {"baseline", nullptr},
                     {"checked", nullptr},
                     {"alarm", nullptr},
                     {"finding", model.finding}});
      if (model.checked > 0) all.back()["checked"] = utc(model.checked);
      if (!model.alarm.empty()) all.back()["alarm"] = model.alarm;
      if (const auto& m = model.baseline) {
        all.back()["baseline"] = {{"latency_ms", m->latency_median_ms()},
                                  {"ratio",
                                   {{"median", m->reference_ratio_median()},
                                    {"ci_low", m->reference_ratio_ci_low()},
                                    {"ci_high", m->reference_ratio_ci_high()}}},
                                  {"epoch", m->device_state_hash().substr(0, 16)}};
      }
      continue;
    }
    std::printf("%-24s %-16s %-8s %-22s %s\n", model.name.c_str(), model.device.c_str(),
                model.alarm.empty() ? (model.baseline ? "ok" : "new") : model.alarm.c_str(),
                model.checked > 0 ? utc(model.checked).c_str() : "not yet", model.finding.c_str());
  }
  if (options.json) std::printf("%s\n", all.dump(2).c_str());
  return ExitCode::done;
}

ExitCode remove(const WatchOptions& options) {
  auto watch = open_watch();
  if (!watch) return fail(watch.error());
  if (const auto removed = watch->remove(options.name, options.device); !removed) return fail(removed.error());
  return ExitCode::done;
}

// The user's own program; its end is waited for.
void call(const std::string& command, const WatchedModel& model) {
  std::vector<std::string> values = {"FINCH_ALARM=" + model.alarm, "FINCH_MODEL=" + model.name,
                                     "FINCH_DEVICE=" + model.device, "FINCH_FINDING=" + model.finding};
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  for (std::string& value : values) environment.push_back(value.data());
  environment.push_back(nullptr);
  std::string shell = "/bin/sh", option = "-c", text = command;
  char* arguments[] = {shell.data(), option.data(), text.data(), nullptr};
  pid_t child = 0;
  int status = 0;
  if (::posix_spawn(&child, shell.c_str(), nullptr, nullptr, arguments, environment.data()) != 0 ||
      ::waitpid(child, &status, 0) < 0 || status != 0)
    std::fprintf(stderr, "finch: --on-alarm failed: %s\n", command.c_str());
}

class Watch {
 public:
  Watch(const WatchOptions& options, const Home& home, FarmStore& farm_store, WatchStore& watch,
        std::unique_ptr<WatchMetrics> metrics, std::stop_token stop)
      : options_(options),
        farm_store_(farm_store),
        watch_(watch),
        metrics_(std::move(metrics)),
        stop_(stop),
        farm_(home, farm_store, "watch", std::move(stop)) {}

  // Until it is stopped; with --once until every model has been measured once. True: an alarm stands, or a device of
  // --once is not there.
  std::expected<bool, Error> run() {
    const std::int64_t begun = unix_now();
    std::set<std::int64_t> once;  // that were measured
    while (true) {
      auto models = watch_.all();
      if (!models) return std::unexpected(models.error());
      const auto loads = farm_store_.loads();
      if (!loads) return std::unexpected(loads.error());
      bool waits = false, alarm = false;
      for (WatchedModel& model : *models) {
        const bool due = options_.once ? !once.contains(model.id)
                                       : static_cast<double>(unix_now() - model.checked) >= 3600 * options_.every_hours;
        // Nobody else wants its device: what is in use is checked when there is time.
        const auto load = loads->find(model.device);
        if (due && load != loads->end() && load->second == 0) {
          if (auto checked = check(model); !checked) return std::unexpected(checked.error());
          once.insert(model.id);
        } else if (due && options_.once && load == loads->end() && unix_now() - begun > kComesBack) {
          std::fprintf(stderr, "%s was not checked: %s is not connected\n", model.name.c_str(), model.device.c_str());
          alarm = true;
        } else if (due) {
          waits = true;
        }
        alarm = alarm || !model.alarm.empty();
      }
      show(*models);
      if (options_.once && !waits) return alarm;
      if (auto paused = pause(); !paused) return std::unexpected(paused.error());
    }
  }

 private:
  std::expected<void, Error> pause() {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait_for(lock, stop_, kLook, [] { return false; });
    if (stop_.stop_requested()) return std::unexpected(Error{"interrupted", ExitCode::interrupted});
    return {};
  }

  // What is disturbed beyond use is taken again. The key is that of the n-th check: a watch that was killed while one
  // ran finds its result.
  std::expected<protocol::Measurement, Error> measure(WatchedModel& model) {
    std::string why;
    for (int attempt = 1; attempt <= kMeasurementAttempts; ++attempt) {
      const auto description = farm_.device(model.device);
      if (!description) return std::unexpected(description.error());
      const auto overrides = measure_overrides_of(description->profile());
      if (!overrides) return std::unexpected(overrides.error());
      const std::string state = device_state(*description, model.job.deploy().runtime());
      JobRequest request{.job = {},
                         .target = model.device,
                         .priority = 0,
                         .depends_on = std::format("watch {} {} {} {}", model.id, model.checks, attempt, state),
                         .description = std::format("Measuring {} on {}", model.name, model.device)};
      protocol::Measure& job = *request.job.mutable_measure();
      job = model.job;
      job.set_state_hash(state);
      set_parameters(job, *overrides);
      auto result = farm_.ask(request);
      if (!result && result.error().exit_code == ExitCode::interrupted) return std::unexpected(result.error());
      if (result && result->measurement().verdict() != "INVALID") return std::move(*result->mutable_measurement());
      why = result ? result->measurement().reasons(0) : result.error().message;
    }
    return std::unexpected(Error{why});
  }

  // Measures it and says what has changed. One figure that is off is no alarm: the next one must say the same.
  std::expected<void, Error> check(WatchedModel& model) {
    DriftFinding finding;
    std::optional<protocol::Measurement> now;
    for (int look = 0; look < 2; ++look) {
      auto measured = measure(model);
      if (!measured && measured.error().exit_code == ExitCode::interrupted) return std::unexpected(measured.error());
      ++model.checks;
      if (metrics_) metrics_->count_check();
      if (!measured) {
        finding = {Drift::failed, "it could not be measured: " + measured.error().message};
        break;
      }
      now = std::move(*measured);
      if (!model.baseline) {
        finding = {Drift::none, std::format("the baseline: {:.4g} ms, {:.4g} times the reference network",
                                            now->latency_median_ms(), now->reference_ratio_median())};
        model.baseline = now;
        break;
      }
      const Drift before = finding.drift;
      finding = find_drift(*model.baseline, *now);
      if (finding.drift == Drift::none || finding.drift == Drift::epoch || finding.drift == before) break;
    }
    if (finding.drift == Drift::epoch) model.baseline = now;
    const bool is_new = finding.drift == Drift::epoch || model.alarm != name_of(finding.drift);
    model.alarm = name_of(finding.drift);
    model.finding = finding.text;
    model.checked = unix_now();
    if (auto saved = watch_.save(model); !saved) return saved;
    std::fprintf(stderr, "%s %s%s on %s: %s\n", utc(model.checked).c_str(),
                 model.alarm.empty() ? "" : "ALARM: ", model.name.c_str(), model.device.c_str(), model.finding.c_str());
    if (model.alarm.empty() || !is_new) return {};
    if (metrics_) metrics_->count_alarm(model.alarm);
    if (!options_.on_alarm.empty()) call(options_.on_alarm, model);
    return {};
  }

  void show(const std::vector<WatchedModel>& models) {
    if (!metrics_) return;
    std::map<std::string, std::int64_t> states;
    for (const WatchedModel& model : models) ++states[model.alarm.empty() ? "ok" : model.alarm];
    metrics_->show_states(states);
  }

  const WatchOptions& options_;
  FarmStore& farm_store_;
  WatchStore& watch_;
  std::unique_ptr<WatchMetrics> metrics_;
  std::stop_token stop_;
  FarmQuestion farm_;
};

ExitCode run(const WatchOptions& options) {
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  auto watch = WatchStore::open(home->watch_db());
  if (!watch) return fail(watch.error());
  std::unique_ptr<WatchMetrics> metrics;
  if (!options.metrics.empty()) {
    auto started = WatchMetrics::start(options.metrics);
    if (!started) return fail(started.error());
    metrics = std::move(*started);
  }
  const auto host = FarmHost::start(*home, "local");
  if (!host) return fail(host.error());
  const auto alarm = Watch(options, *home, *store, *watch, std::move(metrics), interrupt.token()).run();
  if (!alarm) return fail(alarm.error());
  return *alarm ? ExitCode::failed : ExitCode::done;
}

}  // namespace

void add_watch_command(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<WatchOptions>();
  CLI::App* watch = app.add_subcommand("watch", "Measure models that are in use again and again; tell when one drifts");
  watch->require_subcommand(1);
  watch->footer("Example:\n  finch watch add my-model --device pi-kitchen && finch watch run");
  CLI::App* adding = watch->add_subcommand("add", "Watch a model on a device from now on, with a new baseline");
  adding->add_option("MODEL", options->model, "ONNX or TensorFlow Lite file, or a bundle of finch pick")->required();
  adding->add_option("--device", options->devices, "Where it is in use (default: this machine)")->type_name("NAME");
  adding->add_option("--name", options->name, "What it is called here (default: as the file or bundle)");
  adding->add_option("--runtime", options->runtime, "That runs it (default: the usual one for the file)");
  adding->add_option("--provider", options->provider, "Execution provider of the runtime")->capture_default_str();
  adding->add_option("--precision", options->precision, "What the records are to say")->capture_default_str();
  adding->add_option("--threads", options->threads, "Threads within an operator")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  adding->add_option("--tier", options->tier, "How long it is measured each time: quick, screen or certify")
      ->check(CLI::IsMember({"quick", "screen", "certify"}))
      ->capture_default_str();
  adding->footer("Example:\n  finch watch add my-model --device pi-kitchen --threads 4");
  adding->callback([&chosen, options] { chosen = [options] { return add(*options); }; });
  CLI::App* listing = watch->add_subcommand("list", "What is watched, and what the last checks found");
  listing->add_flag("--json", options->json, "JSON instead of a table");
  listing->footer("Example:\n  finch watch list --json");
  listing->callback([&chosen, options] { chosen = [options] { return list(*options); }; });
  CLI::App* removing = watch->add_subcommand("remove", "Do not watch a model any more");
  removing->add_option("NAME", options->name, "As finch watch list shows it")->required();
  removing->add_option("--device", options->device, "On this device alone")->type_name("NAME");
  removing->footer("Example:\n  finch watch remove my-model");
  removing->callback([&chosen, options] { chosen = [options] { return remove(*options); }; });
  CLI::App* running = watch->add_subcommand("run", "Measure what is due whenever its device is idle");
  running->add_option("--every", options->every_hours, "Hours from one check of a model to the next")
      ->check(CLI::Range(0.001, 10'000.0))
      ->type_name("HOURS")
      ->capture_default_str();
  running->add_flag("--once", options->once, "Check every model once, then end: with 1 where an alarm stands");
  running->add_option("--on-alarm", options->on_alarm, "Shell command for each new alarm; see below")
      ->type_name("COMMAND");
  running->add_option("--metrics", options->metrics, "Serve Prometheus metrics there")->type_name("ADDRESS:PORT");
  running->footer(
      "The command is told FINCH_ALARM (model, device, epoch or failed), FINCH_MODEL, FINCH_DEVICE, FINCH_FINDING.\n\n"
      "Example:\n  finch watch run --every 24 --on-alarm 'mail -s \"$FINCH_MODEL\" me < /dev/null'");
  running->callback([&chosen, options] { chosen = [options] { return run(*options); }; });
}

}  // namespace finch::controller
