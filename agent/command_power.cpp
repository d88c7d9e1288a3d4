#include "agent/command_power.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <format>
#include <utility>
#include <vector>

#include "agent/child_process.hpp"

namespace finch::agent {
namespace {

constexpr std::chrono::seconds kLongestWait{1};
constexpr std::chrono::seconds kClockTolerance{10};
constexpr std::size_t kLongestLine = 400;
constexpr double kMostWatts = 100'000;

[[noreturn]] void become_meter(const char* command, pid_t parent, int output) {
  begin_child(parent);
  signal(SIGPIPE, SIG_DFL);
  const int null = open("/dev/null", O_RDWR);
  if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0) _exit(127);
  execl("/bin/sh", "sh", "-c", command, nullptr);
  _exit(127);
}

class CommandPower final : public PowerSensor {
 public:
  CommandPower(const std::string& command, PowerProvenance provenance) : command_(command), provenance_(provenance) {
    auto pipe = make_pipe();
    if (!pipe) {
      failure_ = pipe.error().message;
      return;
    }
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) become_meter(command.c_str(), parent, pipe->write.get());
    if (pid < 0) {
      failure_ = std::format("the power command cannot be started: {}", std::strerror(errno));
      return;
    }
    process_ = std::make_unique<ChildProcess>(pid);
    output_ = std::move(pipe->read);
  }

  PowerProvenance provenance() const override { return provenance_; }
  const std::vector<std::string>& total_rails() const override { return total_; }
  std::chrono::milliseconds period() const override { return std::chrono::milliseconds(0); }

  PowerReading read() override {
    PowerReading reading{.at = monotonic_now(), .rails = {}, .problems = {}};
    const auto line = next_line();
    if (!line) {
      // A meter that has ended says so every time, and not faster than one that works.
      if (!failure_.empty()) poll(nullptr, 0, 50);
      reading.problems.push_back(failure_.empty() ? "the power command prints nothing" : failure_);
      return reading;
    }
    const auto sample = parse_power_line(*line);
    if (!sample) {
      reading.problems.push_back(std::format("the power command prints '{}'; 'monotonic_ns watts' is expected", *line));
    } else if (std::chrono::abs(sample->at - reading.at) > kClockTolerance) {
      reading.problems.emplace_back("the power command's times are not those of CLOCK_MONOTONIC");
    } else {
      reading.at = sample->at;
      reading.rails.push_back({total_.front(), 1000 * sample->watts, std::nullopt});
    }
    return reading;
  }

 private:
  std::optional<std::string> next_line() {
    const auto deadline = monotonic_now() + kLongestWait;
    while (failure_.empty()) {
      if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
        std::string line = buffer_.substr(0, std::min(end, kLongestLine));  // what came last may be long
        buffer_.erase(0, end + 1);
        return line;
      }
      if (buffer_.size() > kLongestLine) buffer_.erase(kLongestLine);  // the rest of it is of no use
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - monotonic_now());
      if (left.count() <= 0) return std::nullopt;
      pollfd wanted{output_.get(), POLLIN, 0};
      if (poll(&wanted, 1, static_cast<int>(left.count())) <= 0) continue;
      std::array<char, 4096> bytes;
      const ssize_t got = ::read(output_.get(), bytes.data(), bytes.size());
      if (got > 0) buffer_.append(bytes.data(), static_cast<std::size_t>(got));
      if (got == 0) failure_ = std::format("the power command has ended: {}", command_);
      if (got < 0 && errno != EINTR) failure_ = std::format("the power command: {}", std::strerror(errno));
    }
    return std::nullopt;
  }

  std::string command_;
  PowerProvenance provenance_;
  std::vector<std::string> total_{"command"};
  std::string failure_;  // not empty: nothing comes any more
  std::string buffer_;
  std::unique_ptr<ChildProcess> process_;
  Descriptor output_;
};

}  // namespace

std::optional<PowerLine> parse_power_line(std::string_view line) {
  const auto skip_blanks = [&line] { line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size())); };
  PowerLine parsed;
  std::int64_t nanoseconds = 0;
  skip_blanks();
  const auto [time_end, time_error] = std::from_chars(line.data(), line.data() + line.size(), nanoseconds);
  line.remove_prefix(static_cast<std::size_t>(time_end - line.data()));
  if (time_error != std::errc() || line.empty() || (line.front() != ' ' && line.front() != '\t')) return std::nullopt;
  skip_blanks();
  const auto [watts_end, watts_error] = std::from_chars(line.data(), line.data() + line.size(), parsed.watts);
  line.remove_prefix(static_cast<std::size_t>(watts_end - line.data()));
  if (watts_error != std::errc() || line.find_first_not_of(" \t\r") != std::string_view::npos) return std::nullopt;
  if (!(std::abs(parsed.watts) <= kMostWatts) || nanoseconds < 0) return std::nullopt;
  parsed.at = std::chrono::nanoseconds(nanoseconds);
  return parsed;
}

std::unique_ptr<PowerSensor> open_command_power(const std::string& command, PowerProvenance provenance) {
  return std::make_unique<CommandPower>(command, provenance);
}

}  // namespace finch::agent
