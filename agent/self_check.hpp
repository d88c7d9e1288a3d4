// What this board can do and what is wrong with it, found before the first job: `finch-agent check`, and every start.
// Values and free functions; thread safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "agent/system_files.hpp"

namespace finch::protocol {
class DeviceDescription;
}

namespace finch::agent {

struct CheckedThing {
  enum class State { kGood, kWarning, kFailed };  // kFailed: no measurement is possible before it is mended
  std::string what;                               // "runtime", "state folder", "clock", "sensors", "sandbox"
  State state = State::kGood;
  std::string says{};
};

// `device` as add_runtimes() left it: what runtimes load and compute the reference network is known by then.
// `resolution` is that of the monotonic clock, `landlock` what landlock_version() says.
std::vector<CheckedThing> check_self(const protocol::DeviceDescription& device, const SystemFiles& files,
                                     const std::filesystem::path& state_folder,
                                     std::chrono::system_clock::time_point now, std::chrono::nanoseconds resolution,
                                     int landlock);
std::chrono::nanoseconds monotonic_resolution();

bool any_failed(const std::vector<CheckedThing>& things);
std::string check_line(const CheckedThing& thing);  // "good     clock: ..."
std::string check_json(const std::vector<CheckedThing>& things);

}  // namespace finch::agent
