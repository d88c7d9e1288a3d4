// The teacher of a campaign: trained by Finch, or asked for its answers, whatever it is.
#include <format>

#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/teacher_source.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {
namespace {

constexpr int kBatch = 32;  // of an ONNX teacher that leaves it free
constexpr int kPriority = 90;

}  // namespace

std::expected<const std::vector<CampaignRun::KnownTeacher>*, Error> CampaignRun::known_teachers(const Home& home) {
  if (known_teachers_) return &*known_teachers_;
  const auto files = teacher_files(state_.config.teacher, home.artifacts());
  if (!files) return std::unexpected(files.error());
  std::vector<KnownTeacher> known;
  for (const TeacherFile& file : *files) {
    const auto added = protocol::ArtifactStore(home.artifacts()).add_file(file.path);
    if (!added) return std::unexpected(Error{added.error().message});
    protocol::ArtifactRef artifact;
    artifact.set_sha256(*added);
    artifact.set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(file.path)));
    known.push_back({.file = std::move(artifact), .onnx = file.onnx});
  }
  known_teachers_ = std::move(known);
  return &*known_teachers_;
}

std::expected<std::optional<protocol::ArtifactRef>, Error> CampaignRun::answers_of(const protocol::ArtifactRef& model) {
  JobRequest exporting{.job = {},
                       .target = "",
                       .priority = kPriority,
                       .depends_on = state_.data->data_hash(),
                       .description = "writing the training images for the teacher"};
  *exporting.job.mutable_export_images()->mutable_data() = data_spec();
  const auto images = board_->result_of(exporting);
  if (!images) return std::unexpected(images.error());
  if (!*images) return std::nullopt;
  if ((*images)->result.has_failure())
    return std::unexpected(Error{"the teacher: " + (*images)->result.failure().message()});

  const DeviceConfig& device = state_.config.devices.front();
  const protocol::DeviceDescription& board = state_.first_board(device);
  JobRequest asking{.job = {},
                    .target = board.name(),
                    .priority = kPriority,
                    .depends_on = state_.data->data_hash() + device_state(board, "onnxruntime"),
                    .description = "asking the teacher on " + board.name()};
  protocol::ComputeLogits& job = *asking.job.mutable_compute_logits();
  *job.mutable_model() = model;
  *job.mutable_images() = (*images)->result.exported_images().images();
  *job.mutable_deploy() = deploy("fp32", device);
  job.mutable_deploy()->set_runtime("onnxruntime");  // whatever the students will be deployed with
  job.mutable_deploy()->set_provider("cpu");
  job.mutable_deploy()->set_batch(kBatch);
  job.set_device(board.name());
  job.set_mirrored(state_.config.train.flip);
  const auto logits = board_->result_of(asking);
  if (!logits) return std::unexpected(logits.error());
  if (!*logits) return std::nullopt;
  if ((*logits)->result.has_failure())
    return std::unexpected(Error{"the teacher: " + (*logits)->result.failure().message()});
  return (*logits)->result.computed_logits().logits();
}

CampaignRun::Step CampaignRun::settle_teacher(const Home& home) {
  const TeacherConfig& teacher = state_.config.teacher;
  const TrainConfig& train = state_.config.train;
  if (!teacher.enabled || user_trains() || (train.distillation_weight == 0 && !train.runs_teacher()))
    return record("teacher", nlohmann::json::object());
  const auto known = known_teachers(home);
  if (!known) return std::unexpected(known.error());
  JobRequest request{.job = {},
                     .target = "",
                     .priority = kPriority,
                     .depends_on = state_.data->data_hash(),
                     .description = (*known)->empty() ? "training the teacher" : "loading the teacher"};
  protocol::TrainTeacher& job = *request.job.mutable_train_teacher();
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(teacher.epochs);
  job.mutable_recipe()->set_learning_rate(teacher.learning_rate);
  for (const KnownTeacher& one : **known) {
    if (!one.onnx) {
      *job.add_torchscript() = one.file;
      continue;
    }
    auto answers = answers_of(one.file);
    if (!answers) return std::unexpected(answers.error());
    if (!*answers) return {};
    *job.add_logits() = std::move(**answers);
  }
  const auto done = board_->result_of(request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return std::unexpected(Error{"the teacher: " + result.failure().message()});
  if (train.runs_teacher() && !result.trained_teacher().has_model()) {
    return std::unexpected(
        Error{std::format("{}: teacher.from: that campaign left a model, but no teacher that could run in every step; "
                          "train one, or set distillation and teacher_view back",
                          state_.config.file.string()),
              ExitCode::usage});
  }
  say(std::format("teacher{}{}: {:.2f} % on the validation split", (*known)->size() > 1 ? " (mean of several)" : "",
                  (*done)->reused ? " (reused)" : "", 100 * result.trained_teacher().validation_top1()));
  return record("teacher", {{"result", to_json(result.trained_teacher())},
                            {"reused", (*done)->reused},
                            {"paused_seconds", (*done)->reused ? 0 : result.paused_seconds()}});
}

void CampaignRun::add_teacher(protocol::TrainCandidate& job) const {
  if (!state_.teacher) return;
  const TrainConfig& train = state_.config.train;
  if (!train.runs_teacher()) {
    *job.mutable_soft_targets() = state_.teacher->soft_targets();
    return;
  }
  *job.mutable_teacher() = state_.teacher->model();
  job.mutable_recipe()->set_teacher_on_batch(true);
  if (!train.distils_features()) return;
  job.mutable_recipe()->set_distillation(train.distillation);
  job.mutable_recipe()->set_feature_weight(train.feature_weight);
}

}  // namespace finch::controller
