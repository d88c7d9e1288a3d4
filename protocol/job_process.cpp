#include "protocol/job_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <format>
#include <fstream>
#include <mutex>
#include <thread>

#include "protocol/farm.pb.h"

namespace finch::protocol {
namespace {

constexpr int kEventsDescriptor = 3;
constexpr std::uint32_t kMaximumMessage = 64 << 20;

bool write_all(int file, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::write(file, data, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    data += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

bool read_all(int file, char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::read(file, data, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    data += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

template <typename Message>
bool write_message(int file, const Message& message) {
  std::string frame(4, '\0');
  message.AppendToString(&frame);
  const std::uint32_t size = static_cast<std::uint32_t>(frame.size() - 4);
  std::memcpy(frame.data(), &size, 4);  // one machine: its own byte order
  return write_all(file, frame.data(), frame.size());
}

template <typename Message>
bool read_message(int file, Message& message) {
  std::uint32_t size = 0;
  if (!read_all(file, reinterpret_cast<char*>(&size), 4) || size > kMaximumMessage) return false;
  std::string bytes(size, '\0');
  return read_all(file, bytes.data(), size) && message.ParseFromString(bytes);
}

std::string describe_death(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const char* hint = signal == SIGKILL ? " (perhaps out of memory)" : "";
    return std::format("ended by signal {} ({}){}", signal, strsignal(signal), hint);
  }
  if (WEXITSTATUS(status) == 127) return "could not be started";
  return std::format("ended with exit status {}", WEXITSTATUS(status));
}

char process_state(pid_t pid) {
  std::ifstream file(std::format("/proc/{}/stat", pid));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= text.size() ? 'X' : text[name_end + 2];
}

}  // namespace

struct JobProcess::State {
  pid_t pid = -1;
  int requests = -1, events = -1;
  std::mutex mutex;  // guards pid against being signalled after it was reaped
  std::atomic<bool> alive{true};

  std::string reap() {
    const std::scoped_lock lock(mutex);
    if (!alive) return "ended";
    int status = 0;
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    alive = false;
    return describe_death(status);
  }

  // How the child ended by itself, if it gets that far within a moment; otherwise it is killed.
  std::string wait_for_death() {
    for (int i = 0; i < 200; ++i) {
      {
        const std::scoped_lock lock(mutex);
        int status = 0;
        if (alive && ::waitpid(pid, &status, WNOHANG) == pid) {
          alive = false;
          return describe_death(status);
        }
      }
      ::usleep(10'000);
    }
    return reap();
  }

  void signal(int number) {
    const std::scoped_lock lock(mutex);
    if (alive) ::kill(pid, number);
  }

  ~State() {
    reap();
    if (requests >= 0) ::close(requests);
    if (events >= 0) ::close(events);
  }
};

JobProcess::JobProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}
JobProcess::JobProcess(JobProcess&&) noexcept = default;
JobProcess& JobProcess::operator=(JobProcess&&) noexcept = default;
JobProcess::~JobProcess() = default;

std::expected<JobProcess, Error> JobProcess::start(const std::vector<std::string>& arguments,
                                                   const std::string& log_path,
                                                   const std::vector<std::string>& environment) {
  std::array<int, 2> requests{}, events{};
  if (::pipe2(requests.data(), O_CLOEXEC) != 0 || ::pipe2(events.data(), O_CLOEXEC) != 0) {
    return std::unexpected(Error{std::format("cannot start {}: {}", arguments[0], std::strerror(errno))});
  }
  const std::string log = log_path.empty() ? "/dev/null" : log_path;
  const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  // All that allocates happens before fork: the child of a threaded process may only call async-signal-safe functions.
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (const std::string& entry : environment) envp.push_back(const_cast<char*>(entry.c_str()));
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name(*entry, std::strcspn(*entry, "="));
    bool replaced = false;
    for (const std::string& own : environment) replaced = replaced || own.starts_with(std::string(name) + "=");
    if (!replaced) envp.push_back(*entry);
  }
  envp.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);
    ::setpgid(0, 0);  // Ctrl-C on the terminal is for the worker, who ends its children in order
    ::dup2(requests[0], STDIN_FILENO);
    ::dup2(output >= 0 ? output : STDERR_FILENO, STDOUT_FILENO);
    ::dup2(output >= 0 ? output : STDERR_FILENO, STDERR_FILENO);
    if (events[1] == kEventsDescriptor) {
      ::fcntl(kEventsDescriptor, F_SETFD, 0);
    } else {
      ::dup2(events[1], kEventsDescriptor);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(requests[0]);
  ::close(events[1]);
  if (output >= 0) ::close(output);
  if (pid < 0) {
    ::close(requests[1]);
    ::close(events[0]);
    return std::unexpected(Error{std::format("cannot start {}: {}", arguments[0], std::strerror(errno))});
  }
  auto state = std::make_unique<State>();
  state->pid = pid;
  state->requests = requests[1];
  state->events = events[0];
  return JobProcess(std::move(state));
}

std::expected<ChildEvent, Error> JobProcess::run(const ChildRequest& request,
                                                 const std::function<void(const ChildEvent&)>& on_progress,
                                                 std::stop_token stop) {
  // A child that died must give an error here, not a SIGPIPE.
  ::signal(SIGPIPE, SIG_IGN);
  if (!write_message(state_->requests, request))
    return std::unexpected(Error{"the job's process " + state_->wait_for_death()});
  const std::stop_callback kill(stop, [this] { state_->signal(SIGKILL); });
  ChildEvent event;
  while (read_message(state_->events, event)) {
    if (event.has_result()) return event;
    if (on_progress) on_progress(event);
  }
  const std::string death = state_->wait_for_death();
  if (stop.stop_requested()) return std::unexpected(Error{"cancelled"});
  return std::unexpected(Error{"the job's process " + death});
}

bool JobProcess::alive() const {
  return state_->alive;
}

void JobProcess::pause() {
  state_->signal(SIGSTOP);
  // All threads have stopped once the kernel says so; that takes a moment at most.
  for (int i = 0; state_->alive && i < 1000; ++i) {
    const char now = process_state(state_->pid);
    if (now == 'T' || now == 'Z' || now == 'X') return;
    ::usleep(1000);
  }
}

void JobProcess::resume() {
  state_->signal(SIGCONT);
}

int serve_jobs(
    const std::function<void(const ChildRequest&, const std::function<void(const ChildEvent&)>& emit)>& serve) {
  ChildRequest request;
  std::mutex mutex;
  while (read_message(STDIN_FILENO, request)) {
    serve(request, [&](const ChildEvent& event) {
      const std::scoped_lock lock(mutex);
      write_message(kEventsDescriptor, event);
    });
  }
  return 0;
}

}  // namespace finch::protocol
