#include "controller/campaign/device_predictors.hpp"

#include <algorithm>
#include <memory>

namespace finch::controller {
namespace {

constexpr std::size_t kLeast = 5;      // samples before the first fit
constexpr double kGrowth = 1.1;        // refitted when there are a tenth more: the cost stays bounded
constexpr std::size_t kOfOthers = 10;  // another device is of use from so many samples on

std::optional<double> latency_of(const CostSample& sample) {
  return sample.latency_ms;
}
std::optional<double> energy_of(const CostSample& sample) {
  return sample.energy_mj;
}

}  // namespace

void DevicePredictors::learn(Quantity& quantity, const search::Genotype& genotype, double value) {
  if (value <= 0) return;  // a net energy below the sensor's resolution
  quantity.predictor.add(genotype, value);
  const std::size_t samples = quantity.predictor.samples();
  if (samples < kLeast || static_cast<double>(samples) < kGrowth * static_cast<double>(quantity.fitted_on)) return;
  quantity.predictor.fit();
  quantity.fitted_on = samples;
}

DevicePredictors::Quantity DevicePredictors::make(const std::vector<MeasuredDevice>& others, Value value) const {
  std::vector<std::string> names;
  std::vector<std::shared_ptr<const search::LatencyPredictor>> known;
  for (const MeasuredDevice& other : others) {
    auto predictor = std::make_shared<search::LatencyPredictor>(space_);
    for (const CostSample& sample : other.samples) {
      if (const auto cost = value(sample); cost && *cost > 0) predictor->add(sample.genotype, *cost);
    }
    if (predictor->samples() < kOfOthers) continue;
    predictor->fit();
    known.push_back(std::move(predictor));
    names.push_back(other.name);
  }
  return {.predictor = search::LatencyPredictor(space_, std::move(known)), .others = std::move(names)};
}

void DevicePredictors::begin(const std::string& device, const std::vector<CostSample>& samples,
                             const std::vector<MeasuredDevice>& others) {
  devices_.emplace(device, Device{make(others, latency_of), make(others, energy_of)});
  for (const CostSample& sample : samples) add(device, sample);
}

void DevicePredictors::add(const std::string& device, const CostSample& sample) {
  Device& known = devices_.at(device);
  learn(known.latency, sample.genotype, sample.latency_ms);
  if (sample.energy_mj) learn(known.energy, sample.genotype, *sample.energy_mj);
}

std::optional<DevicePredictors::Estimate> DevicePredictors::estimate(const std::string& device,
                                                                     const search::Genotype& genotype,
                                                                     bool energy) const {
  const auto found = devices_.find(device);
  if (found == devices_.end()) return std::nullopt;
  const auto& [latency, others, fitted_on] = found->second.latency;
  const search::LatencyPredictor& joules = found->second.energy.predictor;
  Estimate estimate{.sample = {.genotype = genotype}, .quality = latency.quality(), .similar = ""};
  if (!estimate.quality.good() || (energy && !joules.quality().good())) return std::nullopt;
  estimate.sample.latency_ms = latency.predict(genotype);
  if (latency.similar()) estimate.similar = others[*latency.similar()];
  if (energy) {
    estimate.sample.energy_mj = joules.predict(genotype);
    estimate.quality = std::min(estimate.quality, joules.quality(),
                                [](const auto& a, const auto& b) { return a.within_tenth < b.within_tenth; });
  }
  return estimate;
}

}  // namespace finch::controller
