#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <format>
#include <nlohmann/json.hpp>
#include <utility>

#include "controller/campaign/measuring.hpp"
#include "controller/cli/bench_text.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/farm_question.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/config/device_profile.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/input_shape.hpp"
#include "protocol/model_format.hpp"
#include "protocol/random_hex.hpp"

namespace finch::controller {
namespace {

struct Arguments {
  std::vector<std::string> models, compare, devices{"local"}, shapes;
  std::vector<std::string> runtimes{};  // empty: the usual one for each file
  std::string tier = "screen", provider = "cpu", precision;
  int threads = 1, batch = 1;
  double rate_hz = 0;
  bool json = false;
};

std::unexpected<Error> wrong(const std::string& what) {
  return std::unexpected(Error{what, ExitCode::usage});
}

class Bench {
 public:
  Bench(const Arguments& arguments, const Home& home, FarmStore& store, std::stop_token stop)
      : arguments_(arguments), artifacts_(home.artifacts()), farm_(home, store, "bench", std::move(stop)) {}

  // A line of the table: the file may also be one that does not run.
  std::expected<BenchLine, Error> measure(const std::string& file, const std::string& rival, const std::string& device,
                                          const std::string& runtime) {
    const auto description = farm_.device(device);
    if (!description) return std::unexpected(description.error());
    const auto overrides = measure_overrides_of(description->profile());
    if (!overrides) return std::unexpected(overrides.error());
    // Whoever asks twice wants to know it twice: nothing is reused.
    JobRequest request{
        .job = {},
        .target = device,
        .priority = 90,
        .depends_on = description->state_hash() + protocol::random_hex(16),
        .description = std::format("Measuring {} on {} ({})", rival.empty() ? file : file + " and " + rival, device,
                                   arguments_.tier)};
    protocol::Measure& job = *request.job.mutable_measure();
    if (auto added = add(file, *job.mutable_model()); !added) return std::unexpected(added.error());
    if (!rival.empty()) {
      if (auto added = add(rival, *job.mutable_rival()); !added) return std::unexpected(added.error());
    }
    job.mutable_deploy()->set_runtime(runtime);
    job.mutable_deploy()->set_provider(arguments_.provider);
    job.mutable_deploy()->set_precision(arguments_.precision);
    job.mutable_deploy()->set_threads(arguments_.threads);
    job.mutable_deploy()->set_batch(arguments_.batch);
    job.set_tier(arguments_.tier);
    job.set_device(device);
    set_parameters(job, *overrides);
    job.set_rate_hz(arguments_.rate_hz);
    for (const std::string& text : arguments_.shapes) *job.add_shapes() = *protocol::parse_input_shape(text);
    BenchLine line{
        .file = file, .rival = rival, .device = device, .runtime = runtime, .measurement = {}, .failure = {}};
    auto result = farm_.ask(request);
    if (result) {
      line.measurement = std::move(*result->mutable_measurement());
    } else if (result.error().exit_code == ExitCode::interrupted) {
      return std::unexpected(result.error());
    } else {
      line.failure = result.error().message;
    }
    return line;
  }

 private:
  std::expected<void, Error> add(const std::string& file, protocol::ArtifactRef& artifact) {
    const auto hash = artifacts_.add_file(file);
    if (!hash) return std::unexpected(Error{hash.error().message});
    artifact.set_sha256(*hash);
    artifact.set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(artifacts_.path_of(*hash))));
    return {};
  }

  const Arguments& arguments_;
  protocol::ArtifactStore artifacts_;
  FarmQuestion farm_;
};

std::expected<void, Error> check(const Arguments& arguments) {
  if (arguments.models.empty() && arguments.compare.empty()) return wrong("name a model, or two with --compare A B");
  for (const auto* files : {&arguments.models, &arguments.compare}) {
    for (const std::string& file : *files) {
      if (!std::filesystem::is_regular_file(file)) return wrong(std::format("{}: no such file", file));
    }
  }
  for (const std::string& text : arguments.shapes) {
    if (const auto shape = protocol::parse_input_shape(text); !shape) return wrong(shape.error().message);
  }
  return {};
}

ExitCode bench(const Arguments& arguments) {
  if (const auto checked = check(arguments); !checked) return fail(checked.error());
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  if (const auto checked = check_devices(arguments.devices, *store); !checked) return fail(checked.error());
  if (const auto checked = check_local_agent(*home, arguments.devices); !checked) return fail(checked.error());
  const auto host = FarmHost::start(*home, "local");
  if (!host) return fail(host.error());
  Bench measuring(arguments, *home, *store, interrupt.token());
  std::vector<BenchLine> lines;
  for (const std::string& device : arguments.devices) {
    std::vector<std::pair<std::string, std::string>> wanted;
    for (const std::string& model : arguments.models) wanted.emplace_back(model, "");
    if (!arguments.compare.empty()) wanted.emplace_back(arguments.compare[0], arguments.compare[1]);
    for (const auto& [file, rival] : wanted) {
      std::vector<std::string> runtimes = arguments.runtimes;
      if (runtimes.empty()) runtimes.emplace_back(protocol::usual_runtime(protocol::model_format(file)));
      for (const std::string& runtime : runtimes) {
        auto line = measuring.measure(file, rival, device, runtime);
        if (!line) return fail(line.error());
        lines.push_back(std::move(*line));
      }
    }
  }
  std::fputs((arguments.json ? bench_json(lines) : bench_text(lines)).c_str(), stdout);
  for (const BenchLine& line : lines) {
    if (!line.failure.empty()) {
      fail({std::format("{} on {} with {}: {}", line.file, line.device, line.runtime, line.failure)});
    }
  }
  const bool failed = std::ranges::any_of(lines, [](const BenchLine& line) { return !line.failure.empty(); });
  return failed ? ExitCode::failed : ExitCode::done;
}

}  // namespace

void add_bench_command(CLI::App& app, Command& chosen) {
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure model files on this machine or on boards");
  command->add_option("MODEL", arguments->models, "ONNX or TensorFlow Lite files");
  command->add_option("--compare", arguments->compare, "Two files, run in turn: how much faster one is, with interval")
      ->expected(2)
      ->type_name("A B");
  command->add_option("--device", arguments->devices, "Where, may be repeated; see finch devices")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--tier", arguments->tier,
                   "quick (6 s a model), screen (20 s), certify (2 to 4 minutes) or stability (15 minutes)")
      ->check(CLI::IsMember({"quick", "screen", "certify", "stability"}))
      ->capture_default_str();
  command->add_option("--shape", arguments->shapes, "Shape of an input that the model leaves open, may be repeated")
      ->type_name("NAME=1,3,224,224");
  command->add_option("--rate-hz", arguments->rate_hz, "Also run it at this rate, as a camera would: missed deadlines")
      ->check(CLI::Range(0.001, 100'000.0));
  command->add_option("--threads", arguments->threads, "Threads within an operator")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--batch", arguments->batch, "Samples in an inference")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command
      ->add_option("--runtime", arguments->runtimes,
                   "What runs them, may be repeated (default: onnxruntime, for TensorFlow Lite files litert)")
      ->check(CLI::IsMember({"onnxruntime", "openvino", "litert"}));
  command->add_option("--provider", arguments->provider, "Execution provider")->capture_default_str();
  command->add_option("--precision", arguments->precision, "What the record is to say: fp32, int8, ...");
  command->add_flag("--json", arguments->json, "JSON instead of a table");
  command->footer(
      "Example:\n  finch bench model.onnx other.onnx --device pi-kitchen --tier certify\n"
      "  finch bench model.onnx --runtime onnxruntime --runtime openvino\n"
      "  finch bench --compare small.onnx large.onnx");
  command->callback([&chosen, arguments] { chosen = [arguments] { return bench(*arguments); }; });
}

}  // namespace finch::controller
