#include "controller/campaign/measurement_history.hpp"

#include <algorithm>
#include <format>
#include <map>

#include "controller/campaign/job_board.hpp"
#include "controller/campaign/measuring.hpp"

namespace finch::controller {
namespace {

constexpr std::size_t kSamples = 300;  // the latest of the device itself,
constexpr std::size_t kOfEach = 200;   // and of each of the others,
constexpr std::size_t kOthers = 6;     // those with the most

void keep_latest(std::vector<CostSample>& samples, std::size_t count) {
  if (samples.size() > count) samples.erase(samples.begin(), samples.end() - static_cast<std::ptrdiff_t>(count));
}

std::string deployed_on(const protocol::Measure& job) {
  const protocol::Deploy& deploy = job.deploy();
  return std::format("{}, {} {} {}, {} threads, batch {}", job.device(), deploy.runtime(), deploy.provider(),
                     deploy.precision(), deploy.threads(), deploy.batch());
}

bool is_of_now(const FinishedJob& job, const protocol::Measure& measured, const protocol::DeviceDescription& device,
               const protocol::Deploy& deploy) {
  if (measured.device() != device.name() || measured.deploy().SerializeAsString() != deploy.SerializeAsString())
    return false;
  JobRequest request;
  *request.job.mutable_measure() = measured;
  for (int attempt = 1; attempt <= kMeasurementAttempts; ++attempt) {
    request.depends_on = state_of_attempt(device, deploy.runtime(), attempt);
    if (job_key(request) == job.key) return true;
  }
  return false;
}

}  // namespace

std::expected<MeasurementHistory, Error> measured_before(FarmStore& store, const protocol::SpaceSpec& space,
                                                         const protocol::DeviceDescription& device,
                                                         const protocol::Deploy& deploy) {
  const auto jobs = store.finished();
  if (!jobs) return std::unexpected(jobs.error());
  const std::string wanted = space.SerializeAsString();
  std::map<std::string, search::Genotype> networks;  // by their files' hashes
  std::map<std::string, std::vector<CostSample>> others;
  MeasurementHistory history;
  for (const FinishedJob& finished : *jobs) {
    protocol::Job job;
    protocol::JobResult result;
    if (!job.ParseFromString(finished.job) || !result.ParseFromString(finished.result)) continue;
    if (job.has_export_random() && job.export_random().space().SerializeAsString() == wanted) {
      const auto& genotype = job.export_random().genotype();
      for (const protocol::ExportedFile& file : result.exported_network().files())
        networks[file.artifact().sha256()].assign(genotype.begin(), genotype.end());
    }
    const auto network = networks.find(job.measure().model().sha256());
    if (!job.has_measure() || network == networks.end()) continue;
    const protocol::Measurement& measurement = result.measurement();
    if (measurement.verdict() == "INVALID" || measurement.latency_median_ms() <= 0) continue;
    const CostSample sample = cost_sample(network->second, measurement);
    const bool own = is_of_now(finished, job.measure(), device, deploy);
    (own ? history.samples : others[deployed_on(job.measure())]).push_back(sample);
  }
  keep_latest(history.samples, kSamples);
  for (auto& [name, samples] : others) {
    keep_latest(samples, kOfEach);
    history.others.push_back({.name = name, .samples = std::move(samples)});
  }
  std::ranges::stable_sort(history.others, std::ranges::greater(),
                           [](const MeasuredDevice& other) { return other.samples.size(); });
  if (history.others.size() > kOthers) history.others.resize(kOthers);
  return history;
}

}  // namespace finch::controller
