// The steps of compression that [finalists] asks for: between a finalist's training and its certification.
#include <algorithm>
#include <format>

#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/quantizing.hpp"

namespace finch::controller {

CampaignRun::Step CampaignRun::compress_finalist(const FinalistState& finalist) {
  bool reused = false;
  double paused_seconds = 0;
  bool farm_failed = false;
  const CompressionPipeline::Access access{
      .ask = [&](const JobRequest& request) -> std::expected<std::optional<protocol::JobResult>, Error> {
        auto done = board_->result_of(request);
        farm_failed = !done;
        if (!done) return std::unexpected(done.error());
        if (!*done) return std::nullopt;
        reused = (*done)->reused;
        paused_seconds = reused ? 0 : (*done)->result.paused_seconds();
        return std::move((*done)->result);
      },
      .record =
          [&](const std::string& type, nlohmann::json data) {
            return record("finalist_step", {{"id", finalist.id},
                                            {"type", type},
                                            {"step", std::move(data)},
                                            {"reused", reused},
                                            {"paused_seconds", paused_seconds}});
          },
      .say = [this](std::string line) { say(std::move(line)); },
      .keep = {}};
  CompressionPipeline pipeline(compression_of(finalist), finalist.pipeline, access);
  if (finalist.pipeline.steps.front().decided) return pipeline.advance_steps().transform([](bool) {});
  const auto advanced = pipeline.advance_original();
  if (advanced) return {};
  return farm_failed ? std::unexpected(advanced.error()) : fail(finalist, advanced.error().message);
}

PipelineTask CampaignRun::compression_of(const FinalistState& finalist) const {
  const CampaignConfig& config = state_.config;
  const DeviceConfig& device = config.devices.front();
  PipelineTask task{.what = std::format("finalist {}: ", finalist.id),
                    .config = config.finalists.pipeline,
                    .deploys_int8 = config.deploy.precision == "int8",
                    .original = {},
                    .data_hash = state_.data->data_hash(),
                    .soft_targets = {},
                    .quantize = quantize_spec(config.quantize),
                    .recipe = [this](double epochs) { return recipe(epochs); },
                    .device = state_.first_board(device),
                    .deploy = [this, &device](const std::string& precision) { return deploy(precision, device); },
                    .tier = config.measure.search_tier,
                    .measure = device.measure};
  if (state_.teacher) task.soft_targets = state_.teacher->soft_targets();
  protocol::ReadModel& original = task.original;
  *original.mutable_data() = data_spec();
  *original.mutable_file() = finalist.trained->checkpoint();
  *original.mutable_space() = space_spec();
  for (const int choice : state_.candidates.at(finalist.id).genotype) original.add_genotype(choice);
  original.set_origin(config.name);
  return task;
}

// What certification goes on with: the last step that was kept.
void FinalistState::take_compressed() {
  const StepState& last = pipeline.steps[pipeline.last_kept()];
  const protocol::CompressedModel& model = *last.model;
  trained->clear_files();
  if (model.has_fp32_file()) *trained->add_files() = model.fp32_file();
  *trained->add_files() = model.file();
  *trained->mutable_safetensors() = model.safetensors();
  trained->clear_quantization();
  trained->clear_validation();
  trained->set_validation_top1(last.validation->top1());
  if (model.has_quantization()) {
    *trained->mutable_quantization() = model.quantization();
    trained->set_validation_top1(model.quantization().fp32_top1());
  }
  compressed = true;
}

std::vector<std::string> FinalistState::step_notes() const {
  std::vector<std::string> notes;
  for (std::size_t i = 1; i < pipeline.steps.size(); ++i) {
    const StepState& step = pipeline.steps[i];
    if (!step.decided) continue;
    std::string text = std::format("{} was {}: {}", step.step, step.kept ? "kept" : "undone", step.reason);
    if (step.model)
      for (const std::string& note : step.model->notes()) text += "; " + note;
    notes.push_back(std::move(text));
  }
  return notes;
}

search::Cost CampaignState::cost_of(const FinalistState& finalist) const {
  search::Cost cost = candidates.at(finalist.id).cost;
  if (!finalist.compressed) return cost;
  const protocol::CompressedModel& model = *finalist.pipeline.steps[finalist.pipeline.last_kept()].model;
  cost.parameters = model.parameters();
  cost.macs = model.macs();
  cost.peak_activation_bytes = model.peak_activation_bytes();
  return cost;
}

}  // namespace finch::controller
