// Questions to the firmware of a Raspberry Pi, as vcgencmd asks them. Free functions; thread safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "agent/system_files.hpp"

namespace finch::agent {

// The answer to `command`, such as "get_throttled" or "pmic_read_adc": through the mailbox /dev/vcio, or, under a
// root, the text in firmware/COMMAND.txt there. Nothing: there is no such firmware, it may not be asked (the group
// video may), or does not know the command.
std::optional<std::string> ask_raspberry_firmware(const SystemFiles& files, std::string_view command);

// "throttled=0x50005" -> 0x50005.
std::optional<std::uint32_t> parse_throttled(std::string_view answer);

struct PmicRail {
  std::optional<double> volts, amperes;
};

// Lines like "VDD_CORE_A current(7)=1.42880000A" and "VDD_CORE_V volt(15)=0.90659250V" by rail, "VDD_CORE". Lines
// that are something else count as not there.
std::map<std::string, PmicRail> parse_pmic(std::string_view answer);

}  // namespace finch::agent
