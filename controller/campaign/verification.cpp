#include <cmath>
#include <format>

#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/measuring.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/random_hex.hpp"

namespace finch::controller {
namespace {

constexpr double kLatencyTolerance = 0.02;  // what two measurements of a healthy board may differ by

std::string difference(const MeasurementInfo& then, const MeasurementInfo& now) {
  const double ratio = now.median_ms / then.median_ms;
  const bool apart = now.ci_low_ms > then.ci_high_ms || now.ci_high_ms < then.ci_low_ms;
  if (!apart || std::abs(ratio - 1) <= kLatencyTolerance) return "";
  return std::format("{:.3f} x the latency, and the intervals do not meet", ratio);
}

}  // namespace

std::expected<std::vector<FileCheck>, Error> CampaignRun::verify(const Home& home, const Ask& ask) {
  const auto known = result();
  if (!known) return std::unexpected(known.error());
  if (known->models.empty())
    return std::unexpected(
        Error{folder_.path().string() + ": no front yet; finish the campaign: finch resume " + folder_.path().string(),
              ExitCode::usage});
  const std::string once = " verification " + protocol::random_hex(8);  // nothing of it is ever reused

  JobRequest data{
      .job = {}, .target = "", .priority = 100, .depends_on = state_.run_id + once, .description = "Reading the data"};
  *data.job.mutable_inspect_data()->mutable_data() = data_spec();
  const auto facts = ask(data);
  if (!facts) return std::unexpected(facts.error());
  if (facts->data_facts().data_hash() != state_.data->data_hash()) {
    return std::unexpected(
        Error{std::format("{}: these are not the data of the campaign: SHA-256 {} now, {} then",
                          state_.config.data.path, facts->data_facts().data_hash(), state_.data->data_hash())});
  }

  std::vector<FileCheck> checks;
  protocol::ArtifactStore artifacts(home.artifacts());
  for (const FrontModel& model : known->models) {
    for (const ModelFile& file : model.files) {
      FileCheck check{.model = model.id, .path = file.path, .precision = file.precision};
      const auto path = folder_.path() / file.path;
      const auto hash = artifacts.add_file(path);
      if (!hash || *hash != file.sha256) {
        check.differences.push_back(hash ? "the file is not the one that was measured: SHA-256 " + *hash
                                         : hash.error().message);
        checks.push_back(std::move(check));
        continue;
      }
      protocol::ArtifactRef artifact;
      artifact.set_sha256(*hash);
      artifact.set_size_bytes(file.size_bytes);

      const DeviceConfig& first = state_.config.devices.front();
      const std::string& tester = state_.first_board(first).name();
      JobRequest test{.job = {},
                      .target = tester,
                      .priority = 30,
                      .depends_on = once,
                      .description = std::format("Testing {} ({})", model.id, file.precision)};
      protocol::Evaluate& evaluate = *test.job.mutable_evaluate();
      *evaluate.mutable_model() = artifact;
      *evaluate.mutable_test_set() = facts->data_facts().test_set();
      *evaluate.mutable_deploy() =
          deploy(kind_name({file.precision, file.measurements.front().deploy.runtime}, state_.config.deploy), first);
      evaluate.set_device(tester);
      const auto tested = ask(test);
      if (!tested) return std::unexpected(tested.error());
      check.top1_then = file.accuracy->top1;
      check.top1_now = tested->evaluation().top1();
      // The same file, the same images: what is left is the runtime's and the processor's rounding.
      const double images = static_cast<double>(file.accuracy->samples) * (check.top1_now - check.top1_then);
      if (std::abs(images) >= 0.5)
        check.differences.push_back(std::format("{:+.0f} of {} images", images, file.accuracy->samples));

      for (const MeasurementInfo& then : file.measurements) {
        const DeviceConfig& device = *state_.config.device_with_board(then.device);
        JobRequest request{.job = {},
                           .target = then.device,
                           .priority = 40,
                           .depends_on = once,
                           .description = std::format("Measuring {} ({}) on {} ({})", model.id, file.precision,
                                                      then.device, then.tier)};
        protocol::Measure& measure = *request.job.mutable_measure();
        *measure.mutable_model() = artifact;
        *measure.mutable_deploy() =
            deploy(kind_name({file.precision, then.deploy.runtime}, state_.config.deploy), device);
        measure.set_tier(then.tier);
        measure.set_device(then.device);
        set_parameters(measure, device.measure);
        const auto measured = ask(request);
        if (!measured) return std::unexpected(measured.error());
        MeasurementInfo now = measurement_info(measured->measurement());
        if (const std::string text = difference(then, now); !text.empty())
          check.differences.push_back(then.device + ": " + text);
        const std::string state = device_state(state_.devices.at(then.device), then.deploy.runtime);
        if (measured->measurement().device_state_hash() != state)
          check.differences.push_back(then.device + ": its system, settings or runtime changed since");
        check.measurements.emplace_back(then, std::move(now));
      }
      checks.push_back(std::move(check));
    }
  }
  return checks;
}

}  // namespace finch::controller
