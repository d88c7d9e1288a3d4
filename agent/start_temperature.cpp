#include "agent/start_temperature.hpp"

#include <algorithm>
#include <chrono>
#include <format>

#include "agent/device_state.hpp"
#include "agent/pause.hpp"

namespace finch::agent {

std::expected<std::string, Error> wait_for_start_temperature(const SystemFiles& files,
                                                             std::optional<double> reference_celsius,
                                                             const MeasureLimits& limits,
                                                             const std::function<void(double celsius)>& on_wait,
                                                             const std::stop_token& stop) {
  if (!reference_celsius) return std::string();
  const auto begin = std::chrono::steady_clock::now();
  while (true) {
    const auto celsius = hottest_celsius(read_device_state(files));
    if (!celsius || *celsius <= *reference_celsius + limits.start_tolerance_celsius) return std::string();
    const Seconds left = limits.start_wait - (std::chrono::steady_clock::now() - begin);
    if (left <= Seconds(0)) {
      return std::format(
          "it began at {:.1f} °C, {:.1f} °C above the device's start temperature, after a wait of {:.0f} s", *celsius,
          *celsius - *reference_celsius, limits.start_wait.count());
    }
    on_wait(*celsius);
    if (!pause(std::min(Seconds(0.5), left), stop)) return std::unexpected(Error{"stopped", true});
  }
}

}  // namespace finch::agent
