#include "agent/launch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <format>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "agent/child_process.hpp"
#include "agent/launch.pb.h"
#include "agent/launch_pipe.hpp"
#include "agent/sandbox.hpp"
#include "agent/system_files.hpp"
#include "protocol/framing.hpp"

namespace finch::agent {
namespace {

// Between fork and exec: only calls that are safe there.
[[noreturn]] void become(const char* program, pid_t parent, int requests, int events, int errors) {
  begin_child(parent);
  const int null = open("/dev/null", O_WRONLY);
  // The ends are above 3 or moved there first, so that none overwrites another.
  const int request_end = fcntl(requests, F_DUPFD, 10);
  const int event_end = fcntl(events, F_DUPFD, 10);
  const int error_end = fcntl(errors, F_DUPFD, 10);
  if (null < 0 || dup2(request_end, 0) < 0 || dup2(null, 1) < 0 || dup2(error_end, 2) < 0 || dup2(event_end, 3) < 0) {
    _exit(127);
  }
  close(request_end);
  close(event_end);
  close(error_end);
  std::array<char, 16> task{"measure-launch"};
  std::array<char*, 3> arguments{const_cast<char*>(program), task.data(), nullptr};
  execv(program, arguments.data());
  _exit(127);
}

// Keeps the last line of what the process says that is worth repeating.
class LastWords {
 public:
  void append(std::string_view bytes) {
    for (const char c : bytes) {
      if (c == '\n') {
        end_line();
      } else if (line_.size() < kLongest) {
        line_ += c;
      }
    }
  }
  std::string text() {
    end_line();
    return last_;
  }

 private:
  static constexpr std::size_t kLongest = 400;
  void end_line() {
    if (!line_.empty() && !is_schema_noise(line_)) last_ = line_;
    line_.clear();
  }
  std::string line_, last_;
};

std::string describe_death(int status, const Limits& limits, const std::string& last_words) {
  std::string how;
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    how = std::format("was killed by signal {} ({})", signal, sigdescr_np(signal));
    if (signal == SIGKILL) how += ", probably because memory ran out";
    if (signal == SIGXCPU) how = std::format("used more than {} s of processor time", limits.processor_seconds());
    if (signal == SIGXFSZ) how = "wrote a file, which it may not";
  } else {
    how = std::format("ended with status {} and no result", WEXITSTATUS(status));
  }
  return std::format("the measuring process {}{}{}", how, last_words.empty() ? "" : "; its last words: ", last_words);
}

std::string read_available(int descriptor, bool& open) {
  std::array<char, 65536> buffer;
  const ssize_t got = read(descriptor, buffer.data(), buffer.size());
  if (got > 0) return {buffer.data(), static_cast<std::size_t>(got)};
  if (got == 0 || (errno != EINTR && errno != EAGAIN)) open = false;
  return {};
}

// With the limits that the settings leave open.
LaunchRequest limited(const LaunchSettings& settings, LaunchRequest request) {
  constexpr double kSecondsAThread = 600;
  Limits& limits = *request.mutable_limits();
  const LimitWishes& wishes = request.wishes();
  limits.set_memory_bytes(
      settings.memory_bytes
          ? *settings.memory_bytes
          : memory_to_spare(SystemFiles(), wishes.has_memory_share() ? wishes.memory_share() : kMemoryShare));
  if (settings.processor_time) {
    limits.set_processor_seconds(settings.processor_time->count());
  } else if (request.has_build_engine()) {
    limits.set_processor_seconds(std::chrono::seconds(settings.build_processor_time).count() *
                                 std::max(request.threads(), 1));
  } else if (!request.has_evaluate() && !request.has_logits()) {
    const double each = wishes.has_processor_seconds() ? wishes.processor_seconds() : kSecondsAThread;
    limits.set_processor_seconds(static_cast<std::int64_t>(std::ceil(each)) * std::max(request.threads(), 1));
  }
  return request;
}

std::chrono::milliseconds silence_for(const LaunchSettings& settings, const LaunchRequest& request) {
  if (request.has_build_engine()) return settings.build_silence;
  const auto longest = request.wishes().has_silence_seconds()
                           ? std::chrono::milliseconds(std::llround(1e3 * request.wishes().silence_seconds()))
                           : settings.silence;
  return request.has_memory() ? longest / 5 : longest;
}

Error explain_failure(const LaunchFailure& failure, const Limits& limits) {
  Error error{.message = failure.message(), .bad_input = failure.bad_input(), .model_failed = failure.out_of_memory()};
  if (failure.out_of_memory()) {
    error.message = std::format("the model wants more memory than the {} MiB that it may use here: {}",
                                limits.memory_bytes() >> 20U, failure.message());
  }
  return error;
}

std::expected<LaunchEvent, Error> launch(const LaunchSettings& settings, const LaunchRequest& unlimited,
                                         const std::function<void(double)>& on_progress, const std::stop_token& stop) {
  const LaunchRequest request = limited(settings, unlimited);
  const std::chrono::milliseconds silence = silence_for(settings, request);
  std::error_code error;
  const std::filesystem::path program =
      settings.program.empty() ? std::filesystem::read_symlink("/proc/self/exe", error) : settings.program;
  auto requests = make_pipe();
  auto events = make_pipe();
  auto errors = make_pipe();
  if (!requests || !events || !errors) return std::unexpected(Error{"cannot make pipes: too many open files", true});
  const Descriptor stopped(eventfd(0, EFD_CLOEXEC));
  const std::stop_callback wake(stop, [&stopped] { eventfd_write(stopped.get(), 1); });

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    return std::unexpected(Error{std::format("cannot start the measuring process: {}", std::strerror(errno)), true});
  }
  if (pid == 0) {
    become(program.c_str(), parent, requests->read.get(), events->write.get(), errors->write.get());
  }
  ChildProcess child(pid);
  requests->read.reset();
  events->write.reset();
  errors->write.reset();

  // A request is far smaller than a pipe holds, so this does not block; a dead child is found out below.
  std::signal(SIGPIPE, SIG_IGN);
  write_launch_message(requests->write.get(), request);
  requests->write.reset();

  FrameReader frames;
  LastWords last_words;
  LatencySamples samples;
  bool events_open = true;
  bool errors_open = true;
  while (events_open) {
    std::array<pollfd, 3> wanted{{{stopped.get(), POLLIN, 0},
                                  {events->read.get(), POLLIN, 0},
                                  {errors_open ? errors->read.get() : -1, POLLIN, 0}}};
    const int ready = poll(wanted.data(), wanted.size(), static_cast<int>(silence.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (stop.stop_requested()) return std::unexpected(Error{"stopped", true});
    if (ready == 0) {
      return std::unexpected(
          Error{.message = std::format("the measuring process reported nothing for {} s and was ended",
                                       std::chrono::duration<double>(silence).count()),
                .retryable = true,
                .model_failed = true});
    }
    if (wanted[2].revents != 0) last_words.append(read_available(errors->read.get(), errors_open));
    if (wanted[1].revents == 0) continue;
    frames.append(read_available(events->read.get(), events_open));
    while (auto body = frames.next()) {
      LaunchEvent event;
      if (!protocol::decode_frame_body(*body, event)) {
        return std::unexpected(Error{"the measuring process sent what is no message", true});
      }
      switch (event.body_case()) {
        case LaunchEvent::kProgress:
          if (on_progress) on_progress(event.progress().fraction());
          break;
        case LaunchEvent::kSamples:
          samples.MergeFrom(event.samples());
          break;
        case LaunchEvent::kFailed:
          return std::unexpected(explain_failure(event.failed(), request.limits()));
        case LaunchEvent::BODY_NOT_SET:
          break;
        default:
          if (event.has_latency()) {
            event.mutable_latency()->mutable_candidate_ms()->Swap(samples.mutable_candidate_ms());
          }
          if (event.has_logits()) event.mutable_logits()->mutable_values()->Swap(samples.mutable_candidate_ms());
          if (event.has_steady()) event.mutable_steady()->mutable_latency_ms()->Swap(samples.mutable_candidate_ms());
          return event;
      }
    }
    if (frames.damaged()) return std::unexpected(Error{"the measuring process sent what is no message", true});
  }
  while (errors_open) last_words.append(read_available(errors->read.get(), errors_open));
  const int status = child.wait();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return std::unexpected(Error{std::format("cannot start the measuring process {}", program.string())});
  }
  return std::unexpected(Error{
      .message = describe_death(status, request.limits(), last_words.text()), .retryable = true, .model_failed = true});
}

}  // namespace

bool is_schema_noise(std::string_view line) {
  return line.starts_with("Schema error: Trying to register schema");
}

Launcher process_launcher(LaunchSettings settings) {
  return
      [settings = std::move(settings)](const LaunchRequest& request, const std::function<void(double)>& on_progress,
                                       std::stop_token stop) { return launch(settings, request, on_progress, stop); };
}

}  // namespace finch::agent
