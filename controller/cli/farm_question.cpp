#include "controller/cli/farm_question.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <format>
#include <mutex>

namespace finch::controller {

std::expected<void, Error> FarmQuestion::pause() {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  never.wait_for(lock, stop_, std::chrono::milliseconds(50), [] { return false; });
  if (stop_.stop_requested()) return std::unexpected(Error{"interrupted", ExitCode::interrupted});
  return {};
}

std::expected<protocol::JobResult, Error> FarmQuestion::ask(const JobRequest& request) {
  std::fprintf(stderr, "%s ...\n", request.description.c_str());
  for (;;) {
    if (auto refreshed = board_.refresh(); !refreshed) return std::unexpected(refreshed.error());
    const auto done = board_.result_of(request);
    if (!done) return std::unexpected(done.error());
    if (*done && (*done)->result.has_failure()) return std::unexpected(Error{(*done)->result.failure().message()});
    if (*done) return (*done)->result;
    if (auto paused = pause(); !paused) return std::unexpected(paused.error());
  }
}

std::expected<protocol::DeviceDescription, Error> FarmQuestion::device(const std::string& name) {
  for (bool said = false;; said = true) {
    const auto devices = store_.devices();
    if (!devices) return std::unexpected(devices.error());
    const auto found = std::ranges::find(*devices, name, &DeviceRecord::name);
    if (found != devices->end() && found->connected) {
      protocol::DeviceDescription description;
      description.ParseFromString(found->description);
      return description;
    }
    if (!said) std::fprintf(stderr, "Waiting for device %s ...\n", name.c_str());
    if (auto paused = pause(); !paused) return std::unexpected(paused.error());
  }
}

std::expected<void, Error> check_devices(const std::vector<std::string>& devices, FarmStore& store) {
  const auto known = store.devices();
  if (!known) return std::unexpected(known.error());
  for (const std::string& device : devices) {
    if (device == "local" || std::ranges::contains(*known, device, &DeviceRecord::name)) continue;
    return std::unexpected(
        Error{std::format("--device {}: there is no such device; see: finch devices", device), ExitCode::usage});
  }
  return {};
}

}  // namespace finch::controller
