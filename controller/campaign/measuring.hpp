// Measurements as a campaign asks for them and uses them. Pure; thread safe.
#pragma once

#include <string>

#include "controller/campaign/device_predictors.hpp"
#include "controller/config/measure_parameters.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

inline constexpr int kMeasurementAttempts = 3;  // an INVALID measurement is taken anew

// Expected seconds of one measurement of "quick", "screen", "certify" or "stability", before any was taken; with its
// energy pass.
double tier_seconds(const std::string& tier, bool energy);

// The device state that a result with this runtime depends on.
std::string device_state(const protocol::DeviceDescription& device, const std::string& runtime);
// What the result of the n-th attempt, from 1, depends on beside the job; see JobRequest::depends_on.
std::string state_of_attempt(const protocol::DeviceDescription& device, const std::string& runtime, int attempt);

// As the tier's job carries them.
protocol::MeasureParameters measure_parameters(const MeasureOverrides& overrides, const std::string& tier);
// Puts them into the job, where there are any: a job without is the same as before there were parameters.
template <typename Job>
void set_parameters(Job& job, const MeasureOverrides& overrides) {
  if (!overrides.of_tier(job.tier()).empty()) *job.mutable_parameters() = measure_parameters(overrides, job.tier());
}

CostSample cost_sample(const search::Genotype& genotype, const protocol::Measurement& measurement);

// Stands where a measurement would, for what needs none: labelled so by its verdict, and never of a finalist.
protocol::Measurement estimated_measurement(const std::string& device, double latency_ms,
                                            std::optional<double> energy_mj);
bool is_estimate(const protocol::Measurement& measurement);

}  // namespace finch::controller
