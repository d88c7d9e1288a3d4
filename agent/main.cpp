// finch-agent: joins a controller and measures models on the board it runs on; also measures without any controller.
#include <malloc.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <format>
#include <fstream>
#include <iostream>
#include <ranges>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/agent_jobs.hpp"
#include "agent/board_probe.hpp"
#include "agent/device_facts.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/interruption.hpp"
#include "agent/kernel_profile.hpp"
#include "agent/landlock.hpp"
#include "agent/launch.pb.h"
#include "agent/launch_child.hpp"
#include "agent/measure.hpp"
#include "agent/measurement_json.hpp"
#include "agent/remembered_controller.hpp"
#include "agent/runtime_list.hpp"
#include "agent/self_check.hpp"
#include "agent/service_manager.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/identity.hpp"
#include "protocol/input_shape.hpp"
#include "protocol/model_format.hpp"

namespace fs = std::filesystem;
using namespace finch;

namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongInput = 2;
constexpr int kInterrupted = 130;

struct Options {
  agent::RuntimeLibraries libraries;
  std::string runtime, root;
  std::string controller, state, name, profile;
  bool die_with_parent = false;
  bool only_join = false;
  std::string token, fingerprint;
  std::string model, input, output, shape;
  std::string tier = "screen";
  std::string provider = "cpu";
  std::string precision, raw;
  int threads = 1;
  int batch = 1;
  bool json = false;
  std::vector<std::string> shapes;
  double rate_hz = 0;
  std::string power_command;
  std::string power_provenance = "external";

  agent::PowerSettings power() const { return {power_command, *agent::find_provenance(power_provenance)}; }
  fs::path state_folder() const { return state.empty() ? agent::default_state_folder() : fs::path(state); }
  // As given, else the usual one for the model.
  std::string runtime_name() const {
    return runtime.empty() ? std::string(protocol::usual_runtime(protocol::model_format(model))) : runtime;
  }
  agent::SystemFiles files() const { return agent::SystemFiles(root); }
};

int complain(const agent::Error& error) {
  std::cerr << "finch-agent: " << error.message << '\n';
  return error.bad_input ? kWrongInput : kFailed;
}

std::vector<agent::CheckedThing> check_board(const protocol::DeviceDescription& device, const Options& options) {
  return agent::check_self(device, options.files(), options.state_folder(), std::chrono::system_clock::now(),
                           agent::monotonic_resolution(), agent::landlock_version());
}

int run_agent(const Options& options, const agent::ServiceManager& manager, const std::stop_token& stop) {
  const fs::path state = options.state_folder();
  auto recalled = agent::recall_controller(state);
  if (!recalled) return complain(recalled.error());
  agent::RememberedController controller = recalled->value_or(agent::RememberedController{});
  if (!options.controller.empty()) {
    const auto endpoint = agent::parse_endpoint(options.controller);
    if (!endpoint) return complain(endpoint.error());
    std::tie(controller.host, controller.port) = *endpoint;
  }
  if (controller.port == 0) {
    return complain(
        {"no controller is known; join one with the command that `finch devices invite NAME` prints, or "
         "name it with --controller HOST:PORT",
         false, true});
  }
  if (!fs::exists(state / "cert.pem")) {
    return complain({std::format("{} holds no identity of this device; join with the command that `finch devices "
                                 "invite NAME` prints",
                                 state.string()),
                     false, true});
  }
  if (!options.name.empty()) controller.name = options.name;
  if (!options.profile.empty()) controller.profile = options.profile;
  if (controller.name.empty()) return complain({"this device has no name yet; give one with --name", false, true});
  if (auto kept = agent::remember_controller(state, controller); !kept) return complain(kept.error());

  // Few threads that seldom allocate need no heap of their own each.
  mallopt(M_ARENA_MAX, 1);
  agent::AgentJobs jobs({.name = controller.name,
                         .profile = controller.profile,
                         .libraries = options.libraries,
                         .files = options.files(),
                         .launcher = agent::process_launcher(),
                         .power = options.power(),
                         .state_folder = state});
  for (const agent::CheckedThing& thing : check_board(jobs.device(), options)) {
    if (thing.state != agent::CheckedThing::State::kGood) std::cerr << "finch-agent: " << thing.says << '\n';
  }
  protocol::WorkerOptions worker{.host = controller.host, .port = controller.port, .state_folder = state};
  worker.log = [&manager](const std::string& line) {
    std::cerr << "finch-agent: " + line + '\n';
    manager.tell("STATUS=" + line);
  };
  if (const auto patience = manager.watchdog()) {
    // Two signs of life in its time: one may be late.
    worker.alive_interval = std::chrono::duration_cast<std::chrono::milliseconds>(*patience / 2);
    worker.alive = [&manager] { manager.tell("WATCHDOG=1"); };
  }
  manager.tell("READY=1");
  const auto ended = protocol::run_worker(worker, jobs, stop);
  manager.tell("STOPPING=1");
  return ended ? kDone : complain({ended.error().message});
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int join_and_run(Options options, const agent::ServiceManager& manager, const std::stop_token& stop) {
  const fs::path state = options.state_folder();
  const auto endpoint = agent::parse_endpoint(options.controller);
  if (!endpoint) return complain(endpoint.error());
  // Pasting the command again, or after a restart of the board, is no second joining; another authority is.
  const auto recalled = agent::recall_controller(state);
  if (recalled && recalled->has_value() && fs::exists(state / "cert.pem") &&
      protocol::fingerprint_of(read_file(state / "authority.pem")) == options.fingerprint) {
    std::cerr << std::format("finch-agent: {} has joined before as {}; going on with that\n", state.string(),
                             (*recalled)->name);
    return options.only_join ? kDone : run_agent(options, manager, stop);
  }
  const auto joined = protocol::join({endpoint->first, endpoint->second, options.token, options.fingerprint}, state);
  if (!joined) return complain({joined.error().message});
  std::cerr << std::format("finch-agent: joined {} as {}\n", options.controller, joined->name);
  options.name = joined->name;
  options.profile = joined->profile;
  if (!options.only_join) return run_agent(options, manager, stop);
  const auto kept =
      agent::remember_controller(state, {endpoint->first, endpoint->second, joined->name, joined->profile});
  return kept ? kDone : complain(kept.error());
}

protocol::Deploy deploy_of(const Options& options) {
  protocol::Deploy deploy;
  deploy.set_runtime(options.runtime_name());
  deploy.set_provider(options.provider);
  deploy.set_precision(options.precision);
  deploy.set_threads(options.threads);
  deploy.set_batch(options.batch);
  return deploy;
}

int failed(const agent::Error& error, const std::stop_token& stop) {
  if (!stop.stop_requested()) return complain(error);
  std::cerr << "finch-agent: interrupted\n";
  return kInterrupted;
}

int measure(const Options& options, const std::stop_token& stop) {
  const auto tier = agent::find_tier(options.tier);
  const auto hash = protocol::sha256_of_file(options.model);
  if (!hash) return complain({hash.error().message, false, true});
  std::vector<protocol::InputShape> shapes;
  for (const std::string& text : options.shapes) {
    const auto shape = protocol::parse_input_shape(text);
    if (!shape) return complain({shape.error().message, false, true});
    shapes.push_back(*shape);
  }
  const protocol::Deploy deploy = deploy_of(options);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto outcome = agent::measure(
      options.model, deploy, *tier,
      {.launcher = agent::process_launcher(),
       .files = options.files(),
       .libraries = options.libraries,
       .power = options.power(),
       .engines = agent::engines_here(deploy, options.files(), options.libraries, agent::process_launcher(),
                                      options.state_folder()),
       .shapes = std::move(shapes),
       .rate_hz = options.rate_hz,
       .on_progress =
           [terminal](double share, const std::string& what) {
             if (terminal)
               std::cerr << std::format("\r\x1b[Kmeasuring: {:.0f} % ({})", 100 * share, what) << std::flush;
           }},
      stop);
  if (terminal) std::cerr << "\r\x1b[K" << std::flush;
  if (!outcome) {
    agent::Error error = outcome.error();
    if (error.message.find(options.model) == std::string::npos) error.message = options.model + ": " + error.message;
    return failed(error, stop);
  }
  protocol::Measurement measurement = outcome->measurement;
  measurement.set_device("local");
  measurement.set_artifact_sha256(*hash);
  if (!options.raw.empty()) {
    std::ofstream file(options.raw, std::ios::binary);
    file << agent::encode_latencies(outcome->latencies_ms);
    file.close();
    if (!file) return complain({std::format("cannot write {}", options.raw)});
  }
  std::cout << (options.json ? agent::measurement_json(measurement, options.raw) + "\n"
                             : agent::measurement_text(measurement));
  return kDone;
}

int infer(const Options& options, const std::stop_token& stop) {
  agent::LaunchRequest request;
  request.set_runtime(options.runtime_name());
  request.set_library(agent::library_of(options.libraries, request.runtime()));
  request.set_model(options.model);
  request.set_provider(options.provider);
  request.set_threads(options.threads);
  request.set_batch(1);
  request.mutable_infer()->set_input(options.input);
  request.mutable_infer()->set_output(options.output);
  for (const auto part : std::views::split(options.shape, ',')) {
    const std::string_view digits(part);
    std::int64_t extent = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), extent);
    if (error != std::errc() || end != digits.data() + digits.size() || extent < 1) {
      return complain(
          {std::format("--shape {}: give whole numbers with commas, such as 1,1,28,28", options.shape), false, true});
    }
    request.mutable_infer()->add_shape(extent);
  }
  const auto event = agent::process_launcher()(request, {}, stop);
  if (!event) return failed(event.error(), stop);
  std::string shape;
  for (const std::int64_t extent : event->infer().shape()) shape += (shape.empty() ? "" : ",") + std::to_string(extent);
  std::cout << shape << '\n';
  return kDone;
}

int kernels(const Options& options, const std::stop_token& stop) {
  const auto profile = agent::profile_kernels({.model = options.model,
                                               .library = agent::library_of(options.libraries, "onnxruntime"),
                                               .provider = options.provider,
                                               .threads = options.threads,
                                               .batch = options.batch},
                                              agent::process_launcher(), stop);
  if (!profile) return failed(profile.error(), stop);
  std::cout << agent::kernels_text(*profile);
  return kDone;
}

int facts(const Options& options) {
  protocol::DeviceDescription device = agent::read_device(options.files());
  agent::add_runtimes(device, options.files(), agent::process_launcher(),
                      agent::with_found_libraries(options.libraries), options.power());
  std::cout << (options.json ? agent::device_json(device) + "\n" : agent::device_text(device));
  return kDone;
}

int check(const Options& options) {
  protocol::DeviceDescription device = agent::read_device(options.files());
  agent::add_runtimes(device, options.files(), agent::process_launcher(),
                      agent::with_found_libraries(options.libraries), options.power());
  const auto things = check_board(device, options);
  if (options.json) std::cout << agent::check_json(things) << '\n';
  for (const agent::CheckedThing& thing : things) {
    if (!options.json) std::cout << agent::check_line(thing) << '\n';
  }
  return agent::any_failed(things) ? kFailed : kDone;
}

int list_runtimes(const Options& options) {
  const auto listed = agent::list_runtimes(options.libraries, agent::process_launcher());
  std::cout << (options.json ? agent::runtimes_json(listed) + "\n" : agent::runtimes_text(listed));
  return kDone;
}

int probe(const Options& options) {
  const agent::BoardProbe probe = agent::probe_board(options.files(), options.power());
  std::cout << (options.json ? agent::probe_json(probe) + "\n" : agent::probe_text(probe));
  return kDone;
}

void add_root_option(CLI::App& command, Options& options) {
  command.add_option("--sysfs-root", options.root, "Read /sys, /proc and /etc under this folder (for emulated boards)")
      ->check(CLI::ExistingDirectory)
      ->type_name("DIR");
}

void add_power_options(CLI::App& command, Options& options) {
  command
      .add_option("--power-command", options.power_command,
                  "Program that prints lines 'monotonic_ns watts', for a meter beside the board")
      ->type_name("COMMAND");
  command.add_option("--power-provenance", options.power_provenance, "What that meter measures: wall or external")
      ->check(CLI::IsMember({"wall", "external"}))
      ->capture_default_str();
}

void add_runtime_options(CLI::App& command, Options& options) {
  for (const agent::InferenceRuntime& runtime : agent::inference_runtimes()) {
    const std::string name(runtime.name);
    command
        .add_option_function<std::string>(
            "--" + name, [&options, name](const std::string& path) { options.libraries[name] = path; },
            std::format("{}'s library, or the folder it lies in (default: searched for)", runtime.title))
        ->type_name("PATH");
  }
  add_root_option(command, options);
}

std::vector<std::string> names_of_runtimes() {
  std::vector<std::string> names;
  for (const agent::InferenceRuntime& runtime : agent::inference_runtimes()) names.emplace_back(runtime.name);
  return names;
}

void add_state_option(CLI::App& command, Options& options) {
  command.add_option("--state", options.state, "Folder of this device's identity and caches")
      ->type_name("DIR")
      ->default_str(agent::default_state_folder().string());
}

void add_worker_options(CLI::App& command, Options& options) {
  add_runtime_options(command, options);
  command.add_option("--controller", options.controller, "Address of `finch serve`")->type_name("HOST:PORT");
  add_state_option(command, options);
  add_power_options(command, options);
  command.add_flag("--die-with-parent", options.die_with_parent, "End when the starting process ends");
}

void add_name_options(CLI::App& command, Options& options) {
  command.add_option("--name", options.name, "Name of this device (default: as joined)")->type_name("NAME");
  command.add_option("--profile", options.profile, "Profile of this device (default: as joined)")->type_name("NAME");
}

void add_model_options(CLI::App& command, Options& options) {
  add_runtime_options(command, options);
  command.add_option("model", options.model, "ONNX or TensorFlow Lite file")->required()->check(CLI::ExistingFile);
  command
      .add_option("--runtime", options.runtime,
                  "Inference runtime (default: onnxruntime, for TensorFlow Lite files litert)")
      ->check(CLI::IsMember(names_of_runtimes()));
  command.add_option("--provider", options.provider, "Execution provider of the runtime")->capture_default_str();
  command.add_option("--threads", options.threads, "Threads within an operator")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Measures neural networks on the board it runs on, for a Finch controller or by itself."};
  app.name("finch-agent");
  app.set_version_flag("--version", FINCH_VERSION);
  app.require_subcommand(0, 1);
  app.footer(
      "Without a command it works for the controller that it knows, like `run`.\n\nExamples:\n"
      "  finch-agent run\n"
      "  finch-agent measure model.onnx --tier quick\n"
      "Exit codes: 0 done, 1 failed, 2 wrong command line or file, 130 interrupted.");
  add_worker_options(app, options);
  add_name_options(app, options);

  CLI::App* run = app.add_subcommand("run", "Work for the controller that this device has joined");
  add_worker_options(*run, options);
  add_name_options(*run, options);
  run->footer("Example:\n  finch-agent run --controller 192.168.1.4:7447");

  CLI::App* join = app.add_subcommand("join", "Join a controller with a one-time token, then work for it");
  add_worker_options(*join, options);
  join->get_option("--controller")->required();
  join->add_option("--token", options.token, "One-time token, from `finch devices invite NAME`")->required();
  join->add_option("--fingerprint", options.fingerprint, "Of the controller's authority, sha256:HEX")->required();
  join->add_flag("--then-stop", options.only_join, "Do not work yet: a service will");
  join->footer(
      "Example (printed by `finch devices invite NAME`):\n"
      "  finch-agent join --controller 192.168.1.4:7447 --token 7kq2-... --fingerprint sha256:9f86d0...");

  CLI::App* measuring = app.add_subcommand("measure", "Measure a model on this machine");
  add_model_options(*measuring, options);
  add_power_options(*measuring, options);
  add_state_option(*measuring, options);
  measuring
      ->add_option("--tier", options.tier,
                   "quick (4 s), screen (16 to 28 s), certify (2 to 3 minutes) or stability (15 minutes)")
      ->check(CLI::IsMember(agent::tier_names()))
      ->capture_default_str();
  measuring->add_option("--batch", options.batch, "Samples in an inference")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  measuring->add_option("--precision", options.precision, "What the record is to say: fp32, int8, ...")
      ->type_name("NAME");
  measuring->add_option("--shape", options.shapes, "Shape of an input that the model leaves open, may be repeated")
      ->type_name("NAME=1,3,224,224");
  measuring->add_option("--rate-hz", options.rate_hz, "Also run it at this rate, as a camera would")
      ->check(CLI::Range(0.001, 100'000.0));
  measuring->add_option("--raw", options.raw, "Write every latency there (float64 milliseconds)")->type_name("FILE");
  measuring->add_flag("--json", options.json, "Print the record as JSON");
  measuring->footer("Example:\n  finch-agent measure model.onnx --threads 2 --json");

  CLI::App* inferring = app.add_subcommand("infer", "Run a model once on a file of numbers");
  add_model_options(*inferring, options);
  inferring->add_option("--input", options.input, "Input, little-endian float32")
      ->required()
      ->check(CLI::ExistingFile)
      ->type_name("FILE");
  inferring->add_option("--output", options.output, "First output, written there likewise; its shape is printed")
      ->required()
      ->type_name("FILE");
  inferring->add_option("--shape", options.shape, "Shape of the input")->required()->type_name("N,C,H,W");
  inferring->footer("Example:\n  finch-agent infer model.onnx --input in.bin --output out.bin --shape 1,1,28,28");

  CLI::App* profiling =
      app.add_subcommand("kernels", "Show which kernels the runtime chose for a model, and their times");
  add_model_options(*profiling, options);
  profiling->add_option("--batch", options.batch, "Samples in an inference")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  profiling->footer("Example:\n  finch-agent kernels model.onnx");

  CLI::App* telling = app.add_subcommand("facts", "Say what this device is and what can be measured on it");
  add_runtime_options(*telling, options);
  add_power_options(*telling, options);
  telling->add_flag("--json", options.json, "Print the facts as JSON");
  telling->footer("Example:\n  finch-agent facts");

  CLI::App* checking = app.add_subcommand("check", "Say whether this device is ready to measure, and what is wrong");
  add_runtime_options(*checking, options);
  add_power_options(*checking, options);
  add_state_option(*checking, options);
  checking->add_flag("--json", options.json, "Print it as JSON");
  checking->footer("Example:\n  finch-agent check");

  CLI::App* probing = app.add_subcommand("probe", "List this board's sensors and what they read now");
  add_root_option(*probing, options);
  add_power_options(*probing, options);
  probing->add_flag("--json", options.json, "Print them as JSON");
  probing->footer("Example:\n  finch-agent probe --power-command 'plug-meter --watts' --power-provenance wall");

  CLI::App* listing =
      app.add_subcommand("runtimes", "List the inference runtimes that are here, and how to get the others");
  add_runtime_options(*listing, options);
  listing->add_flag("--json", options.json, "Print them as JSON");
  listing->footer("Example:\n  finch-agent runtimes");

  // The measuring process: started by the agent itself, see agent/launch.hpp.
  CLI::App* launched = app.add_subcommand("measure-launch", "")->group("");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::cerr << "finch-agent: " << error.what() << "; see finch-agent --help\n";
    return kWrongInput;
  }
  if (launched->parsed()) return agent::serve_launch();
  if (options.die_with_parent) {
    const pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) return kInterrupted;  // it ended before it could be watched
  }
  const agent::ServiceManager manager;
  const agent::Interruption interruption;
  try {
    if (measuring->parsed()) return measure(options, interruption.token());
    if (inferring->parsed()) return infer(options, interruption.token());
    if (profiling->parsed()) return kernels(options, interruption.token());
    if (telling->parsed()) return facts(options);
    if (probing->parsed()) return probe(options);
    if (checking->parsed()) return check(options);
    if (listing->parsed()) return list_runtimes(options);
    if (join->parsed()) return join_and_run(options, manager, interruption.token());
    return run_agent(options, manager, interruption.token());
  } catch (const std::exception& error) {
    return complain({error.what()});
  }
}
