// finch-trainer: the worker that trains. Its child (finch-trainer serve-jobs) does the heavy work.
#include <signal.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <print>
#include <thread>

#include "protocol/farm.pb.h"
#include "protocol/job_process.hpp"
#include "protocol/worker.hpp"
#include "trainer/compute_device.hpp"
#include "trainer/dataset.hpp"
#include "trainer/jobs.hpp"
#include "trainer/process_group.hpp"
#include "trainer/training_together.hpp"
#include "trainer/training_worker.hpp"

namespace {

using namespace finch;

constexpr int kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 130;

struct WorkerSettings {
  std::string controller;
  std::string state;
  bool die_with_parent = false;
  int processes = 1;
  std::string device = "auto";
};

int complain(int code, const std::string& message) {
  std::println(stderr, "finch-trainer: {}", message);
  return code;
}

// Requests a stop at SIGINT or SIGTERM, which must be blocked in every thread.
class SignalWatch {
 public:
  SignalWatch(std::stop_source stop, sigset_t signals)
      : thread_([this, stop, signals](std::stop_token end) mutable {
          const timespec period{.tv_sec = 0, .tv_nsec = 100'000'000};
          while (!end.stop_requested()) {
            if (const int number = ::sigtimedwait(&signals, nullptr, &period); number > 0) {
              received_ = number;
              stop.request_stop();
            }
          }
        }) {}
  int received() const { return received_; }

 private:
  std::atomic<int> received_ = 0;
  std::jthread thread_;
};

int work(const WorkerSettings& settings) {
  const std::size_t colon = settings.controller.rfind(':');
  protocol::WorkerOptions options;
  const char* const end = settings.controller.data() + settings.controller.size();
  if (colon == std::string::npos || colon == 0 ||
      std::from_chars(settings.controller.data() + colon + 1, end, options.port).ptr != end || options.port == 0) {
    return complain(kUsage, "--controller '" + settings.controller + "': give HOST:PORT, as in 127.0.0.1:7117");
  }
  options.host = settings.controller.substr(0, colon);
  if (options.host.starts_with('[') && options.host.ends_with(']')) {
    options.host = options.host.substr(1, options.host.size() - 2);
  }
  options.state_folder = settings.state;
  options.log = [](const std::string& line) { std::println(stderr, "{}", line); };

  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGINT);
  ::sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (settings.die_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGTERM);

  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return complain(kFailed, "cannot find its own program file: " + error.message());
  const std::filesystem::path state = std::filesystem::absolute(settings.state);
  trainer::TrainingWorker worker({program, "serve-jobs", "--checkpoints", state / "checkpoints", "--processes",
                                  std::to_string(settings.processes), "--device", settings.device},
                                 state / "serve-jobs.log");
  std::stop_source stop;
  const SignalWatch watch(stop, signals);
  const auto done = protocol::run_worker(options, worker, stop.get_token());
  if (watch.received() == SIGINT) return kInterrupted;
  return done ? kDone : complain(kFailed, done.error().message);
}

// The child of work(): leads the other processes where there are some.
int serve(const std::string& checkpoints, const WorkerSettings& settings) {
  auto rendezvous = trainer::rendezvous_from_environment();
  if (rendezvous && rendezvous->processes == 1 && settings.processes > 1)
    rendezvous = trainer::start_others({"/proc/self/exe", "--device", settings.device, "follow"}, settings.processes);
  if (!rendezvous) return complain(kFailed, rendezvous.error().message);
  const auto device = trainer::choose_device(settings.device, rendezvous->local_rank);
  if (!device) return complain(kFailed, device.error().message);
  std::println(stderr, "training on {}", device->str());
  if (rendezvous->processes == 1) {
    trainer::JobServer jobs(checkpoints, trainer::ProcessGroup::alone(), *device);
    return protocol::serve_jobs([&](const auto& request, const auto& emit) { jobs.serve(request, emit); });
  }
  const auto group = trainer::ProcessGroup::meet(*rendezvous, *device);
  if (!group) return complain(kFailed, group.error().message);
  trainer::JobServer jobs(checkpoints, **group, *device);
  const int status = protocol::serve_jobs([&](const auto& request, const auto& emit) {
    if (trainer::is_training(request.job())) trainer::hand_on(**group, request);
    jobs.serve(request, [&](const protocol::ChildEvent& event) {
      // The worker tells of a process that ended, and starts another.
      if (jobs.broken()) std::_Exit(complain(kFailed, event.result().failure().message()));
      emit(event);
    });
  });
  trainer::dismiss(**group);
  return status;
}

// Every process but the leader.
int follow(const std::string& device_name) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto rendezvous = trainer::rendezvous_from_environment();
  if (!rendezvous) return complain(kUsage, rendezvous.error().message);
  const auto device = trainer::choose_device(device_name, rendezvous->local_rank);
  if (!device) return complain(kUsage, device.error().message);
  const auto group = trainer::ProcessGroup::meet(*rendezvous, *device);
  if (!group) return complain(kFailed, group.error().message);
  trainer::JobServer jobs({}, **group, *device);
  const auto done = trainer::follow(**group, jobs);
  return done ? kDone : complain(kFailed, done.error().message);
}

int inspect(const std::string& format, const std::string& path, bool skip_corrupt, bool json) {
  const auto dataset =
      trainer::load_dataset({.format = format,
                             .path = path,
                             .corrupt = skip_corrupt ? trainer::CorruptImages::skip : trainer::CorruptImages::refuse});
  if (!dataset) return complain(kUsage, dataset.error().message);
  for (const std::string& why : dataset->skipped) std::println(stderr, "left out: {}", why);
  const trainer::ImageSplit& train = dataset->train;
  if (json) {
    const nlohmann::ordered_json facts = {
        {"format", format},
        {"path", path},
        {"channels", train.channels},
        {"height", train.height},
        {"width", train.width},
        {"class_names", dataset->class_names},
        {"train_samples", train.size()},
        {"test_samples", dataset->test.size()},
        {"skipped", dataset->skipped.size()},
        {"data_hash", dataset->data_hash},
    };
    std::println("{}", facts.dump(2));
  } else {
    std::println("{} x {} pixels, {} channel{}; {} classes; {} training and {} test images", train.width, train.height,
                 train.channels, train.channels == 1 ? "" : "s", dataset->class_names.size(), train.size(),
                 dataset->test.size());
  }
  return kDone;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("finch-trainer: trains candidate networks for the controller of a Finch farm.", "finch-trainer");
  app.footer(
      "Example:\n  finch-trainer --controller 192.168.1.10:7117 --state ~/.local/state/finch-trainer\n"
      "`finch run` and `finch serve` start one on their own machine by themselves.");
  app.require_subcommand(0, 1);

  WorkerSettings settings;
  app.add_option("--controller", settings.controller, "where `finch serve` or `finch run` listens")
      ->type_name("HOST:PORT");
  app.add_option("--state", settings.state, "folder of this worker's identity and cached files")->type_name("DIR");
  app.add_flag("--die-with-parent", settings.die_with_parent, "end when the program that started this one ends");

  app.add_option("--processes", settings.processes,
                 "that train every network together, each on its part of a batch; without torchrun")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();

  app.add_option("--device", settings.device,
                 "that trains: auto (an NVIDIA GPU where LibTorch can use one), cpu, cuda or cuda:N")
      ->capture_default_str();

  CLI::App& inspector = *app.add_subcommand("inspect", "say what a data set holds");
  inspector.footer("Example:\n  finch-trainer inspect --format idx /usr/share/datasets/fashion-mnist --json");
  std::string format = "idx", path;
  bool json = false, skip_corrupt = false;
  inspector
      .add_option("--format", format,
                  "idx (files of MNIST's kind), cifar10, cifar100, or folder (one folder of images a class)")
      ->check(CLI::IsMember({"idx", "folder", "cifar10", "cifar100"}))
      ->capture_default_str();
  inspector.add_option("path", path, "folder of the data set")->type_name("DIR")->required();
  inspector.add_flag("--skip-corrupt", skip_corrupt, "name images that cannot be read, and go on without them");
  inspector.add_flag("--json", json, "for programs to read");

  const CLI::App& lister = *app.add_subcommand("devices", "say what --device may name on this machine, one a line");

  CLI::App& server = *app.add_subcommand("serve-jobs", "the child that trains; started by finch-trainer")->group("");
  std::string checkpoints;
  server.add_option("--checkpoints", checkpoints, "folder in which long trainings keep where they stand");

  server.add_option("--processes", settings.processes, "as above");
  server.add_option("--device", settings.device, "as above");
  const CLI::App& follower =
      *app.add_subcommand("follow", "one of several that train together; started by the first")->group("");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (lister.parsed()) {
    for (const torch::Device& device : trainer::usable_devices()) std::println("{}", device.str());
    return kDone;
  }
  if (inspector.parsed()) return inspect(format, path, skip_corrupt, json);
  if (server.parsed()) {
    return serve(checkpoints, settings);
  }
  if (follower.parsed()) return follow(settings.device);
  if (const auto rendezvous = trainer::rendezvous_from_environment(); !rendezvous) {
    return complain(kUsage, rendezvous.error().message);
  } else if (rendezvous->rank > 0) {
    return follow(settings.device);
  }
  // A GPU that is asked for by name must be there; the child that trains looks for the others.
  if (settings.device != "auto") {
    if (const auto device = trainer::choose_device(settings.device); !device)
      return complain(kUsage, device.error().message);
  }
  if (settings.controller.empty() || settings.state.empty()) {
    return complain(kUsage, "give --controller HOST:PORT and --state DIR; finch-trainer --help shows an example");
  }
  return work(settings);
}
