// Whether a runtime computes the reference network right on this machine. One thread at a time.
#pragma once

#include <expected>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"

namespace finch::agent {

// Runs it once on one thread. Errors: it does not load or run; its logits are not those that every runtime gave when
// the network was made, within 5 % of the largest: kernels in bfloat16 or float16 pass, wrong ones do not.
std::expected<void, Error> check_reference_network(InferenceBackend& backend);

}  // namespace finch::agent
