// The learning rate over the steps of a training. Pure functions; thread safe.
#pragma once

#include <cstdint>

namespace finch::trainer {

// A tenth of the steps.
std::int64_t warm_up_steps(std::int64_t total_steps);

// Linear from peak / warm_up to peak, then half a cosine down to almost 0 at the last step (Loshchilov and Hutter 2017,
// SGDR, eq. 5, one cycle). REQUIRES: 0 <= step < total_steps.
double learning_rate_at(double peak, std::int64_t step, std::int64_t total_steps);

}  // namespace finch::trainer
