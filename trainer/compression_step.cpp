#include "trainer/compression_step.hpp"

#include <format>

namespace finch::trainer {
namespace {

// Fine-tuning on the labels and the teacher's soft targets (Hinton 2015).
class Distill : public CompressionStep {
 public:
  std::expected<Model, Error> apply(Model model, const CompressionTask& task, std::vector<std::string>&) override {
    if (!task.training) return std::unexpected(Error{"distill needs a number of epochs above 0"});
    return fine_tune(model, task).transform([&] { return std::move(model); });
  }
};

// The weights stay; whatever an int8 model is exported as goes through quantize().
class Quantize : public CompressionStep {
 public:
  std::expected<Model, Error> apply(Model model, const CompressionTask&, std::vector<std::string>&) override {
    if (model.precision == "int8") return std::unexpected(Error{"the model is quantized already"});
    model.precision = "int8";
    return model;
  }
};

template <typename Step>
std::unique_ptr<CompressionStep> make_step() {
  return std::make_unique<Step>();
}

}  // namespace

std::expected<void, Error> fine_tune(Model& model, const CompressionTask& task, const WeightConstraint* constraint) {
  if (task.training) {
    torch::manual_seed(task.training->seed);
    Training training(*model.module, task.dataset.train, task.soft_targets, *task.training);
    if (constraint != nullptr) training.keep(*constraint);
    if (const auto timing = run(training, task.progress); !timing) return std::unexpected(timing.error());
  }
  model.module->move_to(torch::kCPU);
  model.module->eval();
  return {};
}

std::expected<std::unique_ptr<CompressionStep>, Error> CompressionSteps::make(const std::string& name) const {
  if (const auto found = factories_.find(name); found != factories_.end()) return found->second();
  std::string known;
  for (const auto& [each, factory] : factories_) known += (known.empty() ? "" : ", ") + each;
  return std::unexpected(Error{std::format("there is no compression step '{}'; known: {}", name, known)});
}

void register_builtin_compression_steps(CompressionSteps& steps) {
  steps.add("distill", make_step<Distill>);
  steps.add("quantize", make_step<Quantize>);
  register_pruning_steps(steps);
}

}  // namespace finch::trainer
