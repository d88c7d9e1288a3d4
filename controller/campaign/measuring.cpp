#include "controller/campaign/measuring.hpp"

#include <algorithm>
#include <cstdint>
#include <format>

namespace finch::controller {
namespace {

constexpr const char* kEstimated = "ESTIMATED";

}  // namespace

double tier_seconds(const std::string& tier, bool energy) {
  if (tier == "quick") return energy ? 10 : 6;
  if (tier == "screen") return energy ? 60 : 20;
  const double certify = energy ? 230 : 150;
  return tier == "stability" ? certify + 690 : certify;  // the curve, the soak, three launches
}

std::string device_state(const protocol::DeviceDescription& device, const std::string& runtime) {
  const auto found = std::ranges::find(device.runtimes(), runtime, &protocol::RuntimeDescription::name);
  return found == device.runtimes().end() || found->state_hash().empty() ? device.state_hash() : found->state_hash();
}

std::string state_of_attempt(const protocol::DeviceDescription& device, const std::string& runtime, int attempt) {
  return device_state(device, runtime) + (attempt > 1 ? std::format(" attempt {}", attempt) : "");
}

protocol::MeasureParameters measure_parameters(const MeasureOverrides& overrides, const std::string& tier) {
  protocol::MeasureParameters parameters;
  const auto* reflection = protocol::MeasureParameters::GetReflection();
  for (const auto& [name, values] : overrides.of_tier(tier)) {
    const auto* field = protocol::MeasureParameters::descriptor()->FindFieldByName(name);
    for (const double value : values) {
      if (field->is_repeated()) {
        reflection->AddInt32(&parameters, field, static_cast<std::int32_t>(value));
      } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT32) {
        reflection->SetInt32(&parameters, field, static_cast<std::int32_t>(value));
      } else {
        reflection->SetDouble(&parameters, field, value);
      }
    }
  }
  return parameters;
}

CostSample cost_sample(const search::Genotype& genotype, const protocol::Measurement& measurement) {
  CostSample sample{.genotype = genotype, .latency_ms = measurement.latency_median_ms(), .energy_mj = std::nullopt};
  if (measurement.has_energy_net_mj()) sample.energy_mj = measurement.energy_net_mj();
  return sample;
}

protocol::Measurement estimated_measurement(const std::string& device, double latency_ms,
                                            std::optional<double> energy_mj) {
  protocol::Measurement estimate;
  estimate.set_device(device);
  estimate.set_verdict(kEstimated);
  estimate.set_latency_median_ms(latency_ms);
  if (energy_mj) estimate.set_energy_net_mj(*energy_mj);
  return estimate;
}

bool is_estimate(const protocol::Measurement& measurement) {
  return measurement.verdict() == kEstimated;
}

}  // namespace finch::controller
