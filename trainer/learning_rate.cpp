#include "trainer/learning_rate.hpp"

#include <cmath>
#include <numbers>

namespace finch::trainer {

std::int64_t warm_up_steps(std::int64_t total_steps) {
  return total_steps / 10;
}

double learning_rate_at(double peak, std::int64_t step, std::int64_t total_steps) {
  const std::int64_t warm_up = warm_up_steps(total_steps);
  if (step < warm_up) return peak * static_cast<double>(step + 1) / static_cast<double>(warm_up);
  const double position = static_cast<double>(step - warm_up) / static_cast<double>(total_steps - warm_up);
  return peak * 0.5 * (1 + std::cos(std::numbers::pi * position));
}

}  // namespace finch::trainer
