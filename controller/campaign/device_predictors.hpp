// What candidates will cost on each device of a campaign, learnt from what is measured there as it comes in and from
// what earlier campaigns measured, there and on other devices. Not thread safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "search/latency_predictor.hpp"

namespace finch::controller {

struct CostSample {
  search::Genotype genotype;
  double latency_ms = 0;
  std::optional<double> energy_mj;  // net, an inference
};

// What was measured of one space on one device in one state, or under one deployment.
struct MeasuredDevice {
  std::string name;  // "pi-4-kitchen, cpu, 4 threads"
  std::vector<CostSample> samples;
};

class DevicePredictors {
 public:
  // `space` must outlive the predictors.
  explicit DevicePredictors(const search::SearchSpace& space) : space_(space) {}

  // Before the first add() of the device, once: what is known of it, and the devices that it may resemble.
  void begin(const std::string& device, const std::vector<CostSample>& samples,
             const std::vector<MeasuredDevice>& others);
  // It begins anew: what was learnt of it was of another state.
  void forget(const std::string& device) { devices_.erase(device); }
  bool begun(const std::string& device) const { return devices_.contains(device); }
  void add(const std::string& device, const CostSample& sample);

  struct Estimate {
    CostSample sample;
    search::PredictorQuality quality;  // of the latency, or of the energy where that is worse
    std::string similar;               // the device that it was learnt from first; empty: none
  };
  // Nothing before it can be relied on; see PredictorQuality::good(). With `energy`, only what tells that too.
  std::optional<Estimate> estimate(const std::string& device, const search::Genotype& genotype, bool energy) const;
  // Of the latency. REQUIRES: begun.
  search::PredictorQuality quality(const std::string& device) const {
    return devices_.at(device).latency.predictor.quality();
  }

 private:
  struct Quantity {
    search::LatencyPredictor predictor;
    std::vector<std::string> others;  // names, in the order in which the predictor knows them
    std::size_t fitted_on = 0;        // samples
  };
  struct Device {
    Quantity latency, energy;
  };
  using Value = std::optional<double> (*)(const CostSample&);

  Quantity make(const std::vector<MeasuredDevice>& others, Value value) const;
  static void learn(Quantity& quantity, const search::Genotype& genotype, double value);

  const search::SearchSpace& space_;
  std::map<std::string, Device> devices_;
};

}  // namespace finch::controller
