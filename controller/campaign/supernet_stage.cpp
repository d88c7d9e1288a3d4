// What candidates' weights begin with: tensors of another origin, and a supernet's that all of them share.
#include <format>

#include "controller/campaign/campaign_artifact.hpp"
#include "controller/campaign/campaign_run.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {
namespace {

// A file as it is; a campaign's folder stands for its supernet.
std::expected<std::filesystem::path, Error> initial_weights_file(const std::filesystem::path& from,
                                                                 const std::filesystem::path& artifacts) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(from, ignored)) return from;
  auto supernet = artifact_of_campaign(from, "supernet", "supernet", artifacts);
  if (!supernet || !supernet->empty()) return supernet;
  return std::unexpected(
      Error{std::format("init.from: {}: this campaign has no supernet, or it is gone; name one with train.mode = "
                        "\"supernet\", or a file of weights",
                        from.string()),
            ExitCode::usage});
}

}  // namespace

CampaignRun::Step CampaignRun::read_initial_weights(const Home& home) {
  const std::string& from = *state_.config.init.from;
  if (!initial_file_) {
    const auto path = initial_weights_file(from, home.artifacts());
    if (!path) return std::unexpected(path.error());
    const auto added = protocol::ArtifactStore(home.artifacts()).add_file(*path);
    if (!added) return std::unexpected(Error{added.error().message, ExitCode::usage});
    initial_file_.emplace().set_sha256(*added);
    initial_file_->set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(*path)));
  }
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 85,
                     .depends_on = state_.data->data_hash(),
                     .description = "reading the initial weights"};
  protocol::ReadWeights& job = *request.job.mutable_read_weights();
  *job.mutable_space() = space_spec();
  *job.mutable_data() = data_spec();
  *job.mutable_file() = *initial_file_;
  job.set_origin(from);
  const auto done = board_->result_of(request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return std::unexpected(Error{"init.from: " + result.failure().message(), ExitCode::usage});
  const protocol::InitialWeights& initial = result.initial_weights();
  say(std::format("initial weights: {} tensors of {}", initial.loaded(), from));
  for (const std::string& left_out : initial.left_out()) say("initial weights left out: " + left_out);
  return record("initial_weights", {{"result", to_json(initial)}, {"reused", (*done)->reused}});
}

CampaignRun::Step CampaignRun::train_supernet() {
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 80,
                     .depends_on = state_.data->data_hash(),
                     .description = "training the supernet"};
  protocol::TrainSupernet& job = *request.job.mutable_train_supernet();
  *job.mutable_space() = space_spec();
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(state_.config.train.supernet_epochs);
  job.set_spread(state_.config.train.supernet_sampling == "spread");
  if (state_.teacher) *job.mutable_soft_targets() = state_.teacher->soft_targets();
  if (state_.initial_weights) *job.mutable_initial_weights() = state_.initial_weights->weights();
  const ConstraintConfig& limits = state_.config.constraints;
  job.mutable_limits()->set_parameters(limits.parameters.value_or(0));
  job.mutable_limits()->set_macs(limits.macs.value_or(0));
  job.mutable_limits()->set_peak_activation_bytes(limits.memory_mb.value_or(0) * (1 << 20));
  const auto done = board_->result_of(request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return std::unexpected(Error{"the supernet: " + result.failure().message()});
  say(std::format("supernet{}: trained in {:.0f} s", (*done)->reused ? " (reused)" : "",
                  result.trained_supernet().seconds()));
  return record("supernet", {{"result", to_json(result.trained_supernet())},
                             {"reused", (*done)->reused},
                             {"paused_seconds", (*done)->reused ? 0 : result.paused_seconds()}});
}

}  // namespace finch::controller
