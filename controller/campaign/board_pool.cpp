#include "controller/campaign/board_pool.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace finch::controller {

double geometric_median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : std::sqrt(values[middle - 1] * values[middle]);
}

protocol::Measurement pooled(protocol::Measurement measurement, double reference_ms) {
  if (measurement.reference_ratio_median() <= 0 || measurement.latency_median_ms() <= 0) return measurement;
  const double typical = measurement.reference_ratio_median() * reference_ms;
  const double scale = typical / measurement.latency_median_ms();
  measurement.set_latency_median_ms(typical);
  measurement.set_latency_ci_low_ms(measurement.has_reference_ratio_ci_low()
                                        ? measurement.reference_ratio_ci_low() * reference_ms
                                        : scale * measurement.latency_ci_low_ms());
  measurement.set_latency_ci_high_ms(measurement.has_reference_ratio_ci_high()
                                         ? measurement.reference_ratio_ci_high() * reference_ms
                                         : scale * measurement.latency_ci_high_ms());
  measurement.set_latency_p90_ms(scale * measurement.latency_p90_ms());
  measurement.set_latency_p99_ms(scale * measurement.latency_p99_ms());
  return measurement;
}

}  // namespace finch::controller
