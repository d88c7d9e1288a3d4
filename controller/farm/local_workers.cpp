#include "controller/farm/local_workers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <expected>
#include <format>
#include <fstream>
#include <thread>
#include <utility>

#include "controller/farm/dispatcher.hpp"
#include "controller/farm/local_gpu.hpp"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

constexpr std::chrono::seconds kEarly{10};  // who dies before is likely to do so again
constexpr int kEarlyDeaths = 3;             // then it is hopeless for now
constexpr std::chrono::milliseconds kFirstWait{500};
constexpr std::chrono::seconds kToEnd{5};
constexpr std::uintmax_t kLargeLog = 4 << 20;
constexpr std::size_t kLastLines = 5;

// The last lines of a log that say something, in one line.
std::string tail_of(const std::filesystem::path& log) {
  std::ifstream file(log, std::ios::binary | std::ios::ate);
  const auto size = static_cast<std::int64_t>(file.tellg());
  file.seekg(std::max<std::int64_t>(0, size - 4096));
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    lines.push_back(line);
    if (lines.size() > kLastLines) lines.pop_front();
  }
  std::string tail;
  for (const std::string& line : lines) tail += (tail.empty() ? "" : " | ") + line;
  return tail.empty() ? "it wrote nothing" : tail;
}

}  // namespace

LocalWorkers::LocalWorkers(Home home, Options options)
    : home_(std::move(home)),
      options_(std::move(options)),
      programs_{Program{.kind = Kind::agent,
                        .name = kLocalAgent,
                        .program = "finch-agent",
                        .folder = "local-agent",
                        .arguments = {"--name", kLocalAgent, "--profile", options_.profile}},
                Program{.kind = Kind::trainer,
                        .name = kLocalTrainer,
                        .program = "finch-trainer",
                        .folder = "local-trainer",
                        .arguments = {}}} {}

LocalWorkers::~LocalWorkers() {
  for (const Program& program : programs_) {
    if (program.pid > 0) ::kill(program.pid, SIGTERM);
  }
  const auto deadline = Clock::now() + kToEnd;
  for (Program& program : programs_) {
    while (program.pid > 0 && ::waitpid(program.pid, nullptr, WNOHANG) == 0) {
      if (Clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        continue;
      }
      ::kill(program.pid, SIGKILL);
      ::waitpid(program.pid, nullptr, 0);
      break;
    }
  }
}

std::filesystem::path LocalWorkers::log_of(const Program& program) const {
  return home_.logs() / (program.folder + ".log");
}

std::vector<LocalWorkers::Failure> LocalWorkers::tend(Need need) {
  std::vector<Failure> failures;
  if (need.trainer && !std::exchange(looked_for_gpu_, true)) look_for_gpu();
  for (Program& program : programs_) {
    std::string hopeless = program.pid > 0 ? reap(program) : "";
    const bool needed = is_needed(program, need);
    if (hopeless.empty() && needed && program.pid < 0 && Clock::now() >= program.not_before) {
      if (const auto started = start(program); !started) hopeless = started.error().message;
    }
    if (hopeless.empty()) continue;
    options_.log(hopeless);
    program.early_deaths = 0;
    if (needed && !program.extra) failures.push_back({program.kind, hopeless});
  }
  return failures;
}

void LocalWorkers::look_for_gpu() {
  const auto gpu = find_local_gpu(options_.programs / "finch-trainer", options_.root);
  if (!gpu) return;
  options_.log(gpu->advice());
  for (int i = 1; gpu->usable && i < gpu->trainings(); ++i) {
    const std::string name = kMoreLocalTrainers[static_cast<std::size_t>(i) - 1];
    programs_.push_back({.kind = Kind::trainer,
                         .name = name,
                         .program = "finch-trainer",
                         .folder = name,
                         .arguments = {},
                         .extra = true});
  }
}

bool LocalWorkers::is_needed(const Program& program, Need need) const {
  if (program.kind == Kind::agent) return need.agent;
  if (!program.extra) return need.trainer;
  return std::ranges::any_of(
      programs_, [](const Program& other) { return other.kind == Kind::trainer && !other.extra && other.pid > 0; });
}

std::expected<void, Error> LocalWorkers::start(Program& program) {
  const auto path = options_.programs / program.program;
  if (::access(path.c_str(), X_OK) != 0) {
    return std::unexpected(Error{std::format(
        "{} is missing or no program; build it (scripts/finch does), or start a worker elsewhere", path.string())});
  }
  const auto state = home_.workers() / program.folder;
  const auto written =
      protocol::Authority::load_or_create(home_.authority()).and_then([&](const protocol::Authority& authority) {
        return authority.write_identity(program.name, state);
      });
  if (!written) return std::unexpected(Error{written.error().message});

  std::vector<std::string> arguments = {path.string(), "--controller", options_.controller,
                                        "--state",     state.string(), "--die-with-parent"};
  arguments.insert(arguments.end(), program.arguments.begin(), program.arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const std::string log = log_of(program).string();
  std::error_code ignored;
  if (std::filesystem::file_size(log, ignored) > kLargeLog && !ignored) {
    std::filesystem::rename(log, log + ".old", ignored);
  }
  program.started = Clock::now();
  const pid_t parent = ::getpid();
  const bool startable = ::access(path.c_str(), X_OK) == 0;
  const int output = startable ? ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  const int input = output >= 0 ? ::open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
  int error = errno;
  if (input >= 0) program.pid = ::fork();
  if (input >= 0 && program.pid < 0) error = errno;
  if (program.pid == 0) {
    // Only async-signal-safe calls from here. Asked for before the program is there, so that it never outlives a parent
    // that dies at once.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    ::setpgid(0, 0);  // a group of its own: Ctrl-C is for finch, which ends its workers in order
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGINT, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::dup2(input, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execv(path.c_str(), argv.data());
    ::_exit(127);
  }
  if (input >= 0) ::close(input);
  if (output >= 0) ::close(output);
  if (program.pid > 0) return {};
  program.pid = -1;
  return std::unexpected(
      Error{std::format("{} cannot be started: {}; its log would be {}", path.string(), std::strerror(error), log)});
}

std::string LocalWorkers::reap(Program& program) {
  int status = 0;
  if (::waitpid(program.pid, &status, WNOHANG) != program.pid) return {};
  program.pid = -1;
  const bool early = Clock::now() - program.started < kEarly;
  program.early_deaths = early ? program.early_deaths + 1 : 0;
  program.not_before = Clock::now() + kFirstWait * (1 << program.early_deaths);
  const std::string how =
      WIFSIGNALED(status) ? std::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)))
                          : std::format("ended with exit status {}", WEXITSTATUS(status));
  if (program.early_deaths < kEarlyDeaths) {
    options_.log(std::format("the local {} {}; its log is {}", program.program, how, log_of(program).string()));
    return {};
  }
  return std::format("the local {} does not start: {} times in a row it {}; the end of its log {}: {}", program.program,
                     program.early_deaths, how, log_of(program).string(), tail_of(log_of(program)));
}

}  // namespace finch::controller
