#include "agent/evaluate.hpp"

#include <chrono>

#include "agent/kernel_profile.hpp"
#include "agent/launch.pb.h"
#include "agent/measure.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// For all launches of the model, with its engine built.
std::expected<LaunchRequest, Error> prepare(const std::filesystem::path& model, const protocol::Deploy& deploy,
                                            const EvaluateSettings& settings, const std::stop_token& stop) {
  if (auto good = check_deploy(deploy); !good) return std::unexpected(good.error());
  LaunchRequest request;
  request.set_runtime(deploy.runtime());
  request.set_library(library_of(settings.libraries, deploy.runtime()));
  request.set_model(model.string());
  request.set_provider(deploy.provider());
  request.set_threads(deploy.threads());
  request.set_batch(deploy.batch());
  const auto engine = prepare_engine(
      request, settings.engines, settings.launcher, [&] { settings.on_progress(0, "building the engine"); }, stop);
  if (!engine) return std::unexpected(engine.error());
  request.set_engine_folder(engine->folder.string());
  return request;
}

}  // namespace

std::expected<protocol::Evaluation, Error> evaluate(const std::filesystem::path& model,
                                                    const std::filesystem::path& test_set,
                                                    const protocol::Evaluate& job, const EvaluateSettings& settings,
                                                    std::stop_token stop) {
  const protocol::Deploy& deploy = job.deploy();
  auto request = prepare(model, deploy, settings, stop);
  if (!request) return std::unexpected(request.error());
  const auto start = std::chrono::steady_clock::now();
  request->mutable_evaluate()->set_test_set(test_set.string());
  request->mutable_evaluate()->set_logits_of_first(job.logits_of_first());
  const auto event =
      settings.launcher(*request, [&](double share) { settings.on_progress(share, "evaluating"); }, stop);
  if (!event) return std::unexpected(event.error());
  if (!event->has_evaluate() || event->evaluate().samples() <= 0) {
    return std::unexpected(Error{"the measuring process gave an incomplete result", true});
  }
  protocol::Evaluation evaluation;
  evaluation.set_samples(event->evaluate().samples());
  evaluation.set_top1(static_cast<double>(event->evaluate().correct()) /
                      static_cast<double>(event->evaluate().samples()));
  *evaluation.mutable_predictions() = event->evaluate().predictions();
  *evaluation.mutable_logits() = event->evaluate().logits();
  if (deploy.precision() == "int8" && deploy.runtime() == "onnxruntime") {
    const auto profile = profile_kernels({.model = model,
                                          .library = request->library(),
                                          .provider = deploy.provider(),
                                          .threads = deploy.threads(),
                                          .batch = deploy.batch(),
                                          .runs = 1,
                                          .engine_folder = request->engine_folder()},
                                         settings.launcher, stop);
    if (!profile) return std::unexpected(profile.error());
    for (const Kernel& kernel : profile->kernels()) {
      if (is_integer_layer(kernel.operation())) evaluation.set_integer_layers(evaluation.integer_layers() + 1);
      if (is_float_layer(kernel.operation())) evaluation.add_float_layers(kernel.node());
    }
  }
  evaluation.set_seconds(seconds_since(start));
  return evaluation;
}

std::expected<ModelLogits, Error> compute_logits(const std::filesystem::path& model,
                                                 const std::filesystem::path& images, bool mirrored,
                                                 const protocol::Deploy& deploy, const EvaluateSettings& settings,
                                                 std::stop_token stop) {
  auto request = prepare(model, deploy, settings, stop);
  if (!request) return std::unexpected(request.error());
  const auto start = std::chrono::steady_clock::now();
  request->mutable_logits()->set_images(images.string());
  request->mutable_logits()->set_mirrored(mirrored);
  const auto event =
      settings.launcher(*request, [&](double share) { settings.on_progress(share, "asking the teacher"); }, stop);
  if (!event) return std::unexpected(event.error());
  if (!event->has_logits() || event->logits().classes() <= 0 || event->logits().values().empty()) {
    return std::unexpected(Error{"the measuring process gave an incomplete result", true});
  }
  return ModelLogits{.values = {event->logits().values().begin(), event->logits().values().end()},
                     .classes = event->logits().classes(),
                     .seconds = seconds_since(start)};
}

}  // namespace finch::agent
