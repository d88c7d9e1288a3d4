#include "controller/cli/plan_estimate.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <limits>

#include "controller/campaign/measuring.hpp"
#include "search/successive_halving.hpp"

namespace finch::controller {
namespace {

constexpr double kDataSeconds = 5;
// The teacher is a plain convolutional network, about as quick to train as the space's largest.
constexpr double kTeacherFactor = 1.0;
// Through a network with shared weights: 2,000 to recalibrate it, 5,000 to validate it; a third of training's work
// each.
constexpr double kSubnetImages = 7000.0 / 3;
// An epoch with fake quantization against one without.
constexpr double kFakeQuantizationFactor = 2;

// Of one finalist, were its calibration to lose too much accuracy.
double fake_quantization_epochs(const CampaignConfig& config) {
  const auto& steps = config.finalists.pipeline.steps;
  const bool quantizes = steps.empty() || config.deploy.precision == "int8" ||
                         std::ranges::contains(steps, std::string("quantize"), &StepConfig::name);
  return quantizes ? config.quantize.qat_epochs : 0;
}

}  // namespace

double Plan::total_seconds() const {
  double total = 0;
  for (const PlanStage& stage : stages) total += stage.seconds;
  return total;
}

double Plan::total_megabytes() const {
  double total = 0;
  for (const PlanStage& stage : stages) total += stage.megabytes;
  return total;
}

std::expected<Plan, Error> plan_campaign(const CampaignConfig& config, const PlanFacts& facts) {
  // The geometric mean stands for what a search tries: sizes spread evenly on a logarithmic scale.
  const double speed = std::sqrt(facts.images_per_second_small * facts.images_per_second_large);
  const double latency_ms = std::sqrt(facts.latency_ms_small * facts.latency_ms_large);
  const double samples = static_cast<double>(facts.train_samples);
  const double model_mb = static_cast<double>(facts.largest_parameters) * 4 / 1e6;
  const double teacher = config.teacher.enabled && config.teacher.is_trained()
                             ? config.teacher.epochs * samples / (facts.images_per_second_large * kTeacherFactor)
                             : 0;
  const search::SuccessiveHalving halving(static_cast<std::size_t>(config.train.rungs), config.train.reduction);
  const bool shared = config.train.mode == "supernet";
  // In every step of a supernet a large network, the smallest and two between them learn, or four evenly spread.
  const double ends = 1 / facts.images_per_second_large + 1 / facts.images_per_second_small;  // seconds
  const double each_image = config.train.supernet_sampling == "spread" ? 2 * ends : ends + 2 / speed;
  const double supernet = shared ? config.train.supernet_epochs * samples * each_image : 0;
  const double accuracy =
      shared ? kSubnetImages / speed : halving.expected_share() * config.train.epochs * samples / speed;
  const auto runtimes = static_cast<double>(1 + config.finalists.runtimes.size());
  const double candidate = accuracy + (config.measure.every_runtime ? runtimes : 1) * facts.measurement_seconds;
  const double final_measurement = config.measure.finalist_tier == config.measure.search_tier
                                       ? facts.measurement_seconds
                                       : tier_seconds(config.measure.finalist_tier, facts.energy);
  const double evaluation = 1 + 1.2 * latency_ms / 1e3 * static_cast<double>(facts.test_samples);
  const auto seeds = static_cast<double>(config.finalists.seeds);
  const double kinds = 2 * runtimes;  // fp32 and int8 with each
  const PipelineConfig& pipeline = config.finalists.pipeline;
  const double steps = pipeline.steps.empty() ? 0 : static_cast<double>(pipeline.steps.size() + 1);
  const double finalist = (seeds * config.train.finalist_epochs + pipeline.training_epochs()) * samples / speed +
                          kinds * (final_measurement + evaluation) + (seeds - 1) * evaluation +
                          steps * (facts.measurement_seconds + evaluation);
  const auto count = static_cast<double>(config.finalists.count);
  const double quantization = count * fake_quantization_epochs(config) * kFakeQuantizationFactor * samples / speed;
  double baselines = 0;
  for (const BaselineConfig& baseline : config.baselines) {
    baselines +=
        final_measurement + evaluation + (baseline.file ? 0 : config.train.baseline_epochs() * samples / speed);
  }
  const double fixed = kDataSeconds + teacher + supernet + count * finalist + quantization + baselines;

  const double least = fixed + kFewestEvaluations * candidate;
  if (config.budget.hours && *config.budget.hours * 3600 < least) {
    return std::unexpected(Error{
        std::format("{}: budget.hours: {:.2f} h cannot hold the teacher ({:.0f} s), {}{} finalists ({:.0f} s) {}{}and "
                    "{} evaluations ({:.0f} s); the least that can is hours = {:.2f}",
                    config.file.string(), *config.budget.hours, teacher,
                    shared ? std::format("the supernet ({:.0f} s), ", supernet) : "", config.finalists.count,
                    count * finalist,
                    quantization > 0 ? std::format("with their quantization ({:.0f} s) ", quantization) : "",
                    baselines > 0 ? std::format("with the baselines ({:.0f} s) ", baselines) : "", kFewestEvaluations,
                    kFewestEvaluations * candidate, std::ceil(least / 36) / 100),
        ExitCode::usage});
  }
  Plan plan;
  plan.evaluations = config.budget.evaluations.value_or(std::numeric_limits<std::int64_t>::max());
  if (config.budget.hours)
    plan.evaluations =
        std::min(plan.evaluations, static_cast<std::int64_t>((*config.budget.hours * 3600 - fixed) / candidate));
  const auto evaluations = static_cast<double>(plan.evaluations);
  plan.stages = {{"data", kDataSeconds, static_cast<double>(facts.test_samples) * 1e-3},
                 {"teacher", teacher, teacher > 0 ? samples * 80 / 1e6 + 5 : 0},
                 {"search", evaluations * candidate, evaluations * 2 * model_mb},
                 {"finalists", count * finalist, count * 4 * model_mb}};
  if (quantization > 0) plan.stages.push_back({"quantization", quantization, 0});
  if (baselines > 0)
    plan.stages.push_back({"baselines", baselines, static_cast<double>(config.baselines.size()) * model_mb});
  if (shared) plan.stages.insert(plan.stages.begin() + 2, {"supernet", supernet, model_mb});
  return plan;
}

}  // namespace finch::controller
