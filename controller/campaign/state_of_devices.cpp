// What a campaign knows of its devices and their boards, and what of its measurements is compared.
#include <algorithm>
#include <cmath>

#include "controller/campaign/campaign_state.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/measuring.hpp"

namespace finch::controller {

bool FinalistFile::is_measured_on(const std::string& device, const std::string& board) const {
  const auto known = measurements.find(device);
  return known != measurements.end() && std::ranges::any_of(known->second, [&](const Measured& measured) {
           return measured.measurement.device() == board;
         });
}

void FinalistFile::forget_earlier(const protocol::DeviceDescription& board) {
  for (auto& [device, all] : measurements) {
    std::erase_if(all, [&](const Measured& measured) {
      const protocol::Measurement& m = measured.measurement;
      return m.device() == board.name() && m.device_state_hash() != device_state(board, m.deploy().runtime());
    });
  }
}

std::vector<std::string> CampaignState::boards_of(const DeviceConfig& device) const {
  const auto pool = pools.find(device.name);
  std::vector<std::string> boards = device.all_boards();
  std::erase_if(boards, [&](const std::string& board) {
    const bool calibrated = !device.is_pool() || (pool != pools.end() && pool->second.baseline_ms.contains(board));
    return !calibrated || !devices.contains(board);
  });
  return boards;
}

const protocol::DeviceDescription& CampaignState::first_board(const DeviceConfig& device) const {
  const std::vector<std::string> boards = device.all_boards();
  return devices.at(*std::ranges::find_if(boards, [&](const std::string& board) { return devices.contains(board); }));
}

bool CampaignState::has_met(const DeviceConfig& device) const {
  const bool any =
      std::ranges::any_of(device.all_boards(), [&](const std::string& board) { return devices.contains(board); });
  return any && (!device.is_pool() || pools.contains(device.name));
}

std::size_t CampaignState::boards_to_certify_on(const DeviceConfig& device) const {
  constexpr std::ptrdiff_t kEnough = 2;
  return static_cast<std::size_t>(std::min(
      kEnough,
      std::ranges::count_if(device.all_boards(), [&](const std::string& board) { return devices.contains(board); })));
}

bool CampaignState::is_measured(const FinalistFile& file, const DeviceConfig& device) const {
  const auto known = file.measurements.find(device.name);
  return known != file.measurements.end() && known->second.size() >= boards_to_certify_on(device);
}

bool CampaignState::complete(const FinalistState& finalist) const {
  if (!finalist.failure.empty()) return true;
  const auto tested = [](const FinalistSeed& seed) { return seed.evaluation.has_value(); };
  if (!finalist.trained || !std::ranges::all_of(finalist.seeds, tested)) return false;
  return std::ranges::all_of(finalist_kinds(config, finalist.trained->files()), [&](const std::string& kind) {
    const auto file = finalist.files.find(kind);
    return file != finalist.files.end() && file->second.evaluations.size() == config.devices.size() &&
           std::ranges::all_of(config.devices,
                               [&](const DeviceConfig& device) { return is_measured(file->second, device); });
  });
}

bool CampaignState::complete(const BaselineState& baseline) const {
  if (!baseline.failure.empty()) return true;
  return (baseline.file.evaluation || !baseline.no_accuracy.empty()) &&
         std::ranges::all_of(config.devices,
                             [&](const DeviceConfig& device) { return is_measured(baseline.file, device); });
}

protocol::Measurement CampaignState::compared(const protocol::Measurement& measurement,
                                              const std::string& device) const {
  const auto pool = pools.find(device);
  return pool == pools.end() ? measurement : pooled(measurement, pool->second.reference_ms);
}

protocol::Measurement CampaignState::compared(const FinalistFile& file, const std::string& device) const {
  const std::vector<FinalistFile::Measured>& all = file.measurements.at(device);
  protocol::Measurement mean = compared(all.front().measurement, device);
  double logarithms = 0, energy = 0;
  for (const FinalistFile::Measured& measured : all) {
    logarithms += std::log(compared(measured.measurement, device).latency_median_ms());
    energy += measured.measurement.energy_net_mj();
  }
  const auto boards = static_cast<double>(all.size());
  mean.set_latency_median_ms(std::exp(logarithms / boards));
  if (mean.has_energy_net_mj()) mean.set_energy_net_mj(energy / boards);
  return mean;
}

std::map<std::string, protocol::Measurement> CampaignState::by_device(const FinalistState& finalist) const {
  std::map<std::string, protocol::Measurement> all;
  for (const auto& [kind, file] : finalist.files) {
    const auto [precision, runtime] = deployed_kind(kind, config.deploy);
    if (precision != config.deploy.precision) continue;
    if (runtime != config.deploy.runtime && !config.measure.every_runtime) continue;
    for (const auto& [device, measured] : file.measurements) {
      if (measured.empty()) continue;
      protocol::Measurement measurement = compared(file, device);
      const auto [known, first] = all.emplace(device, measurement);
      if (!first && measurement.latency_median_ms() < known->second.latency_median_ms())
        known->second = std::move(measurement);
    }
  }
  return all;
}

// In a new state a board is another one: what was measured and tested of finalists is so anew, what was learnt of its
// latencies is learnt anew, and what it is off its pool is not known.
void CampaignState::apply_device(const Event& event) {
  auto board = from_json<protocol::DeviceDescription>(event.data.at("device"));
  const std::string name = board.name();
  if (event.data.value("new_epoch", false)) {
    for (auto& [device, pool] : pools) pool.baseline_ms.erase(name);
    if (predictors_) predictors_->forget(name);
    if (finalists) {
      for (FinalistState& finalist : *finalists) {
        for (auto& [kind, file] : finalist.files) {
          file.forget_earlier(board);
          if (const DeviceConfig* device = config.device_with_board(name)) file.evaluations.erase(device->name);
        }
      }
    }
    for (BaselineState& baseline : baselines) baseline.file.forget_earlier(board);
  }
  devices[name] = std::move(board);
}

}  // namespace finch::controller
