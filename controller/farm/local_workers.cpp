#include "controller/farm/local_workers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>

#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kQuickDeath{5};

}  // namespace

LocalWorkers::LocalWorkers(Home home, std::uint16_t port, std::string profile,
                           std::function<void(const std::string&)> log)
    : home_(std::move(home)), port_(port), log_(std::move(log)) {
  programs_.push_back(
      {.name = "local", .program = "finch-agent", .extra = {"--name", "local", "--profile", std::move(profile)}});
  programs_.push_back({.name = "local-trainer", .program = "finch-trainer", .extra = {}});
}

LocalWorkers::~LocalWorkers() {
  for (const Program& program : programs_) {
    if (program.pid > 0) ::kill(program.pid, SIGTERM);
  }
  const auto deadline = Clock::now() + std::chrono::seconds(3);
  for (Program& program : programs_) {
    while (program.pid > 0) {
      if (::waitpid(program.pid, nullptr, WNOHANG) != 0) {
        program.pid = -1;
      } else if (Clock::now() > deadline) {
        ::kill(program.pid, SIGKILL);
        ::waitpid(program.pid, nullptr, 0);
        program.pid = -1;
      } else {
        ::usleep(10'000);
      }
    }
  }
}

void LocalWorkers::tend() {
  for (Program& program : programs_) {
    if (program.pid > 0) reap(program);
    if (program.pid < 0 && Clock::now() >= program.not_before) start(program);
  }
}

void LocalWorkers::start(Program& program) {
  const auto folder = home_.workers() / program.name;
  const auto authority = protocol::Authority::load_or_create(home_.authority());
  if (!authority) return log_(authority.error().message);
  if (const auto written = authority->write_identity(program.name, folder); !written)
    return log_(written.error().message);

  const std::string path = program_folder() / program.program;
  std::vector<std::string> arguments = {path,      "--controller", std::format("127.0.0.1:{}", port_),
                                        "--state", folder,         "--die-with-parent"};
  arguments.insert(arguments.end(), program.extra.begin(), program.extra.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const std::string log = home_.logs() / (program.name + ".log");
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A group of its own: Ctrl-C is for finch, which ends its workers in order.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  const int error = ::posix_spawn(&program.pid, path.c_str(), &files, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  program.started = Clock::now();
  if (error != 0) {
    program.pid = -1;
    program.not_before = Clock::now() + std::chrono::seconds(30);
    log_(std::format("{}: cannot start: {}; build it with scripts/build", path, std::strerror(error)));
  }
}

void LocalWorkers::reap(Program& program) {
  int status = 0;
  if (::waitpid(program.pid, &status, WNOHANG) != program.pid) return;
  program.pid = -1;
  const bool quick = Clock::now() - program.started < kQuickDeath;
  program.quick_deaths = quick ? program.quick_deaths + 1 : 0;
  const int wait = program.quick_deaths < 3 ? 1 : 15;
  program.not_before = Clock::now() + std::chrono::seconds(wait);
  const std::string how = WIFSIGNALED(status) ? std::format("signal {}", strsignal(WTERMSIG(status)))
                                              : std::format("exit status {}", WEXITSTATUS(status));
  std::string line = std::format("{} ended ({}); starting it again in {} s", program.program, how, wait);
  if (program.quick_deaths >= 3) line += ": " + last_words(program);
  log_(line);
}

std::string LocalWorkers::last_words(const Program& program) const {
  std::ifstream file(home_.logs() / (program.name + ".log"));
  std::string line, last = "it left no message";
  while (std::getline(file, line)) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace finch::controller
