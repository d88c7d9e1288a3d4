#include "agent/raspberry_firmware.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <format>

namespace finch::agent {
namespace {

// The property mailbox's tag for a command of vcgencmd (raspberrypi/utils, vcgencmd.c).
constexpr std::uint32_t kGeneralCommandTag = 0x00030080;
constexpr std::size_t kAnswerBytes = 1024;

struct MailboxMessage {
  std::uint32_t size = sizeof(MailboxMessage);
  std::uint32_t code = 0;  // a request
  std::uint32_t tag = kGeneralCommandTag;
  std::uint32_t room = kAnswerBytes;
  std::uint32_t length = 0;
  std::uint32_t error = 0;
  std::array<char, kAnswerBytes> text{};
  std::uint32_t end = 0;
};

std::optional<std::string> ask_mailbox(std::string_view command) {
  MailboxMessage message;
  if (command.size() >= message.text.size()) return std::nullopt;
  std::memcpy(message.text.data(), command.data(), command.size());
  const int mailbox = open("/dev/vcio", O_RDWR | O_CLOEXEC);
  if (mailbox < 0) return std::nullopt;
  const bool answered = ioctl(mailbox, _IOWR(100, 0, char*), &message) >= 0 && message.error == 0;
  close(mailbox);
  message.text.back() = '\0';
  std::string answer = message.text.data();
  if (!answered || answer.starts_with("error=")) return std::nullopt;
  return answer;
}

std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

}  // namespace

std::optional<std::string> ask_raspberry_firmware(const SystemFiles& files, std::string_view command) {
  if (files.root().empty()) return ask_mailbox(command);
  const std::string path = std::format("/firmware/{}.txt", command);
  return files.holds(path) ? files.read(path) : std::nullopt;
}

std::optional<std::uint32_t> parse_throttled(std::string_view answer) {
  constexpr std::string_view kKey = "throttled=0x";
  if (!answer.starts_with(kKey)) return std::nullopt;
  const auto flags = parse_number(answer.substr(kKey.size()), 16);
  if (!flags || *flags < 0 || *flags > 0xFFFFFFFF) return std::nullopt;
  return static_cast<std::uint32_t>(*flags);
}

std::map<std::string, PmicRail> parse_pmic(std::string_view answer) {
  std::map<std::string, PmicRail> rails;
  while (!answer.empty()) {
    std::string_view line = next_line(answer);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    const std::size_t name_end = line.find(' ');
    const std::size_t equals = line.find('=');
    if (name_end == std::string_view::npos || equals == std::string_view::npos || equals < name_end) continue;
    const std::string_view name = line.substr(0, name_end);
    const std::string_view kind = line.substr(name_end + 1, equals - name_end - 1);
    const bool current = name.ends_with("_A") && kind.starts_with("current(");
    if (!current && !(name.ends_with("_V") && kind.starts_with("volt("))) continue;
    const std::string_view number = line.substr(equals + 1);
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    // 100 is beyond what any rail of the board has in volts or amperes.
    if (error != std::errc() || end == number.data() + number.size() || *end != (current ? 'A' : 'V') ||
        !std::isfinite(value) || value < 0 || value > 100) {
      continue;
    }
    PmicRail& rail = rails[std::string(name.substr(0, name.size() - 2))];
    (current ? rail.amperes : rail.volts) = value;
  }
  return rails;
}

}  // namespace finch::agent
