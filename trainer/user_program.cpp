#include "trainer/user_program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <format>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "trainer/active_clock.hpp"

namespace finch::trainer {
namespace {

constexpr std::chrono::milliseconds kLook{100};
constexpr double kTolerance = 1e-3;  // between an accuracy and its matrix: people round
constexpr std::size_t kLongestLine = 300;

// Between fork and exec: async-signal-safe calls only, for other threads of the parent may hold any lock.
[[noreturn]] void become(char* const* arguments, const char* folder, pid_t parent, int log, int trouble) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it died before the line above
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
#ifdef SYS_close_range
  constexpr unsigned kCloseOnExec = 4;  // CLOSE_RANGE_CLOEXEC, for headers that lack it; old kernels say no
  ::syscall(SYS_close_range, 3U, ~0U, kCloseOnExec);
#endif
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int ignored : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::signal(ignored, SIG_DFL);
  if (::chdir(folder) == 0) ::execvp(arguments[0], arguments);
  const int error_number = errno;
  [[maybe_unused]] const ssize_t told = ::write(trouble, &error_number, sizeof error_number);
  ::_exit(127);
}

// The process group of a running process; -1: gone, or not readable.
pid_t group_of(const std::filesystem::path& process) {
  std::ifstream file(process / "stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(") ");
  char state = 0;
  int parent = 0, group = -1;
  if (name_end == std::string::npos ||
      std::sscanf(text.c_str() + name_end + 2, "%c %d %d", &state, &parent, &group) != 3 || state == 'Z')
    return -1;
  return group;
}

// All of this process's group but itself. New ones may be started meanwhile: until none is left.
void kill_rest_of_group() {
  const pid_t own = ::getpid(), group = ::getpgrp();
  if (own != group) return;  // not started as a job's process: others may be in it
  for (bool found = true; found;) {
    found = false;
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const pid_t pid = std::stoi(name);
      if (pid == own || group_of(entry->path()) != group) continue;
      found = ::kill(pid, SIGKILL) == 0 || found;
    }
    if (found) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string last_line(const std::filesystem::path& log) {
  std::ifstream file(log);
  std::string last;
  for (std::string line; std::getline(file, line);) {
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  }
  return last.empty() ? "" : "; its last line: " + last.substr(0, kLongestLine);
}

}  // namespace

std::expected<double, Error> run_program(const UserProgram& program, const std::function<void(double)>& waiting) {
  std::vector<std::string> command = program.command;
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const std::string folder = program.folder.string();
  const int log = ::open(program.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  int trouble[2] = {-1, -1};
  if (log < 0 || ::pipe2(trouble, O_CLOEXEC) != 0)
    return std::unexpected(Error{std::format("{}: cannot be written: {}", program.log.string(), std::strerror(errno))});
  const ActiveClock clock;
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(arguments.data(), folder.c_str(), parent, log, trouble[1]);
  ::close(log);
  ::close(trouble[1]);
  int error_number = pid < 0 ? errno : 0;
  if (pid > 0 && ::read(trouble[0], &error_number, sizeof error_number) <= 0) error_number = 0;
  ::close(trouble[0]);
  if (error_number != 0) {
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    return std::unexpected(
        Error{std::format("'{}' cannot be started in {}: {}", command[0], folder, std::strerror(error_number))});
  }
  int status = 0;
  bool late = false;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    late = late || clock.seconds() > program.timeout_seconds;
    if (late) {
      ::kill(pid, SIGKILL);
      kill_rest_of_group();
    }
    waiting(clock.seconds());
    std::this_thread::sleep_for(kLook);
  }
  const double seconds = clock.seconds();
  kill_rest_of_group();
  const std::string line = last_line(program.log);
  if (late)
    return std::unexpected(Error{
        std::format("not done after {:.0f} s, the limit of train.timeout_minutes{}", program.timeout_seconds, line)});
  if (WIFSIGNALED(status))
    return std::unexpected(
        Error{std::format("ended by signal {} ({}){}", WTERMSIG(status), ::strsignal(WTERMSIG(status)), line)});
  if (WEXITSTATUS(status) != 0)
    return std::unexpected(Error{std::format("exit status {}{}", WEXITSTATUS(status), line)});
  return seconds;
}

std::expected<UserMetrics, Error> read_metrics(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& what) {
    return std::unexpected(Error{path.filename().string() + ": " + what});
  };
  std::ifstream file(path);
  if (!file) return refuse("the program did not write it");
  UserMetrics metrics;
  try {
    const auto json = nlohmann::json::parse(file);
    metrics.top1 = json.at("top1").get<double>();
    metrics.samples = json.at("samples").get<std::int64_t>();
    for (const auto& pair : json.value("confusion", nlohmann::json::array()))
      metrics.confusion.push_back({pair.at(0), pair.at(1), pair.at(2)});
  } catch (const nlohmann::json::exception& error) {
    // Python writes NaN, which is no JSON.
    return refuse(std::string("expected {\"top1\": 0..1, \"samples\": N}: ") + error.what());
  }
  if (!std::isfinite(metrics.top1) || metrics.top1 < 0 || metrics.top1 > 1)
    return refuse(std::format("top1 is {}, outside 0 .. 1", metrics.top1));
  if (metrics.samples < 1) return refuse(std::format("samples is {}, at least 1 is expected", metrics.samples));
  std::int64_t right = 0, all = 0;
  for (const auto& [label, prediction, count] : metrics.confusion) {
    if (label < 0 || prediction < 0 || count < 0) return refuse("a negative number in confusion");
    all += count;
    if (label == prediction) right += count;
  }
  if (all > 0 && (all != metrics.samples ||
                  std::abs(static_cast<double>(right) / static_cast<double>(all) - metrics.top1) > kTolerance))
    return refuse(std::format("confusion has {} of {} images right, which is not top1 = {} of {}", right, all,
                              metrics.top1, metrics.samples));
  return metrics;
}

}  // namespace finch::trainer
