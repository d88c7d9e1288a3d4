#include "protocol/job_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <format>
#include <mutex>
#include <system_error>

#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/framing.hpp"

namespace finch::protocol {
namespace {

constexpr int kEventsDescriptor = 3;
// How often a run looks whether the child died with its event pipe still held open by a grandchild.
constexpr int kLookMilliseconds = 500;

std::string reason(int error_number) {
  return std::generic_category().message(error_number);
}

// How often the kernel has killed a process for want of memory, whichever it was. Nothing on kernels that do not say.
long out_of_memory_kills() {
  const auto statistics = read_whole_file("/proc/vmstat");
  const std::size_t at = statistics ? statistics->find("\noom_kill ") : std::string::npos;
  if (at == std::string::npos) return 0;
  long count = 0;
  const char* number = statistics->data() + at + std::strlen("\noom_kill ");
  std::from_chars(number, statistics->data() + statistics->size(), count);
  return count;
}

// Both ends close on exec and lie above the descriptors that the child will replace.
struct Channel {
  Descriptor ours, theirs;
};
std::expected<Channel, Error> make_channel() {
  std::array<int, 2> ends;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return std::unexpected(Error{"no channel to a job process: " + reason(errno)});
  }
  const Descriptor low(ends[1]);
  Channel channel{Descriptor(ends[0]), Descriptor(::fcntl(low.get(), F_DUPFD_CLOEXEC, 10))};
  if (!channel.theirs) return std::unexpected(Error{"no channel to a job process: " + reason(errno)});
  return channel;
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> with_inherited(const std::vector<std::string>& environment) {
  std::vector<std::string> all = environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    const std::string_view name = variable.substr(0, variable.find('=') + 1);
    bool replaced = false;
    for (const std::string& own : environment) replaced = replaced || own.starts_with(name);
    if (!replaced) all.emplace_back(variable);
  }
  return all;
}

// Between fork and exec: async-signal-safe calls only, for other threads of the parent may hold any lock.
[[noreturn]] void become(char* const* arguments, char* const* environment, pid_t parent, int requests, int events,
                         int log, int trouble) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it died before the line above
  ::setpgid(0, 0);                        // Ctrl-C on the terminal is for the worker, who ends its children in order
  ::dup2(requests, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::dup2(events, kEventsDescriptor);
#ifdef SYS_close_range
  constexpr unsigned kCloseOnExec = 4;  // CLOSE_RANGE_CLOEXEC, for headers that lack it; old kernels say no
  ::syscall(SYS_close_range, kEventsDescriptor + 1, ~0U, kCloseOnExec);
#endif
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int ignored : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::signal(ignored, SIG_DFL);
  ::execve(arguments[0], arguments, environment);
  const int error_number = errno;
  [[maybe_unused]] const ssize_t told = ::write(trouble, &error_number, sizeof error_number);
  ::_exit(127);
}

}  // namespace

struct JobProcess::State {
  std::string name, log_path;
  Descriptor requests, events, stop_wish;
  long kills_before = 0;
  // Guards against a signal to a process id that was reaped and given to somebody else.
  mutable std::mutex mutex;
  pid_t pid = -1;
  bool reaped = false;
  std::string death;

  ~State() { kill_and_reap(); }

  // REQUIRES: mutex held. True when the child is gone; how, is in `death`.
  bool reap(int options) {
    if (reaped) return true;
    int status = 0;
    pid_t got = 0;
    while ((got = ::waitpid(pid, &status, options)) < 0 && errno == EINTR) {
    }
    if (got == 0) return false;
    reaped = true;
    ::kill(-pid, SIGKILL);  // what it started itself
    if (WIFSIGNALED(status)) {
      const int number = WTERMSIG(status);
      const char* description = ::sigdescr_np(number);
      death = std::format("was ended by signal {} ({})", number, description != nullptr ? description : "unknown");
      if (number == SIGKILL) {
        death += out_of_memory_kills() > kills_before ? ": this machine ran out of memory"
                                                      : ", perhaps because memory ran out";
      }
    } else {
      death = std::format("ended with exit status {}", WEXITSTATUS(status));
    }
    return true;
  }

  void kill_and_reap() {
    const std::scoped_lock lock(mutex);
    if (pid < 0 || reaped) return;
    ::kill(-pid, SIGKILL);
    ::kill(pid, SIGKILL);  // in case it has not made its group yet
    reap(0);
  }

  bool is_dead() {
    const std::scoped_lock lock(mutex);
    return reap(WNOHANG);
  }

  Error death_error() {
    std::string message = std::format("the process {} {}", name, death);
    if (!log_path.empty()) message += "; see " + log_path;
    return {message};
  }

  // Its channel is closed: it is dying, or it closed it on purpose and is of no use any more.
  Error lost() {
    for (int i = 0; i < 100 && !is_dead(); ++i) ::usleep(10'000);
    kill_and_reap();
    return death_error();
  }

  // Waits for input (POLLIN) or room (POLLOUT). Error: stop was requested, or the child is gone.
  std::expected<void, Error> wait_for(const Descriptor& channel, short what) {
    for (;;) {
      std::array<pollfd, 2> waiting{{{channel.get(), what, 0}, {stop_wish.get(), POLLIN, 0}}};
      const int ready = ::poll(waiting.data(), waiting.size(), kLookMilliseconds);
      if (waiting[1].revents != 0) {
        kill_and_reap();
        return std::unexpected(Error{std::format("the process {} was stopped on request", name)});
      }
      if (ready > 0 && waiting[0].revents != 0) return {};
      if (ready == 0 && is_dead()) return std::unexpected(death_error());
      if (ready < 0 && errno != EINTR) return std::unexpected(Error{"waiting for a job process: " + reason(errno)});
    }
  }

  std::expected<void, Error> send_fully(std::string_view bytes) {
    while (!bytes.empty()) {
      if (auto waited = wait_for(requests, POLLOUT); !waited) return waited;
      const ssize_t sent = ::send(requests.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
      if (sent < 0 && errno != EINTR && errno != EAGAIN) return std::unexpected(lost());
    }
    return {};
  }

  std::expected<void, Error> receive_fully(std::span<char> bytes) {
    while (!bytes.empty()) {
      if (auto waited = wait_for(events, POLLIN); !waited) return waited;
      const ssize_t got = ::recv(events.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got > 0) bytes = bytes.subspan(static_cast<std::size_t>(got));
      if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) return std::unexpected(lost());
    }
    return {};
  }

  std::expected<ChildEvent, Error> receive_event() {
    std::array<char, kFrameHeaderBytes> header;
    if (auto got = receive_fully(header); !got) return std::unexpected(got.error());
    const auto size = decode_frame_header(std::as_bytes(std::span(header)));
    std::string body(size.value_or(0), '\0');
    if (size) {
      if (auto got = receive_fully(body); !got) return std::unexpected(got.error());
    }
    ChildEvent event;
    const auto decoded = size.and_then([&](std::size_t) { return decode_frame_body(body, event); });
    if (decoded) return event;
    kill_and_reap();
    return std::unexpected(
        Error{std::format("the process {} sent what is no event: {}", name, decoded.error().message)});
  }
};

JobProcess::JobProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}
JobProcess::JobProcess(JobProcess&&) noexcept = default;
JobProcess& JobProcess::operator=(JobProcess&&) noexcept = default;
JobProcess::~JobProcess() = default;

std::expected<JobProcess, Error> JobProcess::start(const std::vector<std::string>& arguments,
                                                   const std::string& log_path,
                                                   const std::vector<std::string>& environment) {
  auto requests = make_channel();
  auto events = make_channel();
  auto trouble = make_channel();
  for (const auto* channel : {&requests, &events, &trouble}) {
    if (!*channel) return std::unexpected(channel->error());
  }
  const std::string log_name = log_path.empty() ? "/dev/null" : log_path;
  const Descriptor low_log(::open(log_name.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  const Descriptor log(low_log ? ::fcntl(low_log.get(), F_DUPFD_CLOEXEC, 10) : -1);
  if (!log) return std::unexpected(Error{std::format("{}: cannot be written: {}", log_name, reason(errno))});

  auto state = std::make_unique<State>();
  state->name = std::filesystem::path(arguments[0]).filename().string();
  state->log_path = log_path;
  state->stop_wish = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  state->kills_before = out_of_memory_kills();

  std::vector<std::string> argument_strings = arguments, environment_strings = with_inherited(environment);
  const std::vector<char*> argv = pointers_to(argument_strings), envp = pointers_to(environment_strings);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    become(argv.data(), envp.data(), parent, requests->theirs.get(), events->theirs.get(), log.get(),
           trouble->theirs.get());
  }
  if (child < 0) {
    return std::unexpected(Error{std::format("{} cannot be started: {}", arguments[0], reason(errno))});
  }
  state->pid = child;
  state->requests = std::move(requests->ours);
  state->events = std::move(events->ours);
  trouble->theirs.reset();
  // Ends when exec succeeds, or brings the reason why it did not.
  int exec_error = 0;
  ssize_t got = 0;
  while ((got = ::read(trouble->ours.get(), &exec_error, sizeof exec_error)) < 0 && errno == EINTR) {
  }
  if (got == sizeof exec_error) {
    return std::unexpected(Error{std::format("{} cannot be started: {}", arguments[0], reason(exec_error))});
  }
  return JobProcess(std::move(state));
}

std::expected<ChildEvent, Error> JobProcess::run(const ChildRequest& request,
                                                 const std::function<void(const ChildEvent&)>& on_progress,
                                                 std::stop_token stop) {
  const auto frame = encode_frame(request);
  if (!frame) return std::unexpected(frame.error());
  std::uint64_t earlier = 0;  // a wish to stop that came after the last run was over
  [[maybe_unused]] const ssize_t cleared = ::read(state_->stop_wish.get(), &earlier, sizeof earlier);
  const std::stop_callback wish(stop, [fd = state_->stop_wish.get()] {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
  });
  if (auto sent = state_->send_fully(*frame); !sent) return std::unexpected(sent.error());
  for (;;) {
    auto event = state_->receive_event();
    if (!event || event->has_result()) return event;
    if (on_progress) on_progress(*event);
  }
}

bool JobProcess::alive() const {
  return !state_->is_dead();
}

void JobProcess::pause() {
  const std::scoped_lock lock(state_->mutex);
  if (state_->reap(WNOHANG)) return;
  ::kill(-state_->pid, SIGSTOP);
  ::kill(state_->pid, SIGSTOP);
  // Reported when all its threads stand still. WNOWAIT: an exit stays to be reaped by whoever runs the job.
  siginfo_t what;
  while (::waitid(P_PID, static_cast<id_t>(state_->pid), &what, WSTOPPED | WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
}

void JobProcess::resume() {
  const std::scoped_lock lock(state_->mutex);
  if (state_->reap(WNOHANG)) return;
  ::kill(-state_->pid, SIGCONT);
  ::kill(state_->pid, SIGCONT);
}

}  // namespace finch::protocol
