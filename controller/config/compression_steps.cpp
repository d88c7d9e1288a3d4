#include "controller/config/compression_steps.hpp"

#include <algorithm>
#include <charconv>
#include <format>
#include <set>

#include "controller/config/toml_reader.hpp"

namespace finch::controller {
namespace {

struct KnownStep {
  const char* name;
  double usual, low, high;
  const char* meaning;  // of the amount; null: there is none
};
constexpr KnownStep kSteps[] = {{"distill", 1, 0.001, 10'000, "epochs"},
                                {"prune", 0.3, 0.01, 0.99, "share of the MACs to remove"},
                                {"quantize", 0, 0, 0, nullptr},
                                {"cluster", 4, 1, 8, "bits an index"}};

std::unexpected<Error> wrong(std::string what) {
  return std::unexpected(Error{std::move(what), ExitCode::usage});
}

}  // namespace

std::string StepConfig::text() const {
  const auto known = std::ranges::find(kSteps, name, [](const KnownStep& step) { return std::string_view(step.name); });
  return known == std::end(kSteps) || known->meaning == nullptr ? name : std::format("{}={}", name, amount);
}

std::expected<StepConfig, Error> parse_step(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('='));
  const auto known = std::ranges::find(kSteps, name, [](const KnownStep& step) { return std::string_view(step.name); });
  if (known == std::end(kSteps)) {
    const std::set<std::string> names = {"distill", "prune", "quantize", "cluster"};
    return wrong(std::format("'{}' is no step of compression{}; there are distill, prune, quantize, cluster", name,
                             did_you_mean(name, names)));
  }
  StepConfig step{std::string(name), known->usual};
  if (name.size() == text.size()) return step;
  const std::string_view number = text.substr(name.size() + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), step.amount);
  const bool whole = error == std::errc() && end == number.data() + number.size();
  if (known->meaning == nullptr) return wrong(std::format("'{}': {} has no amount", text, name));
  if (!whole || !(step.amount >= known->low && step.amount <= known->high)) {
    return wrong(std::format("'{}': {} takes the {}, {:g} to {:g}, as in {}={:g}", text, name, known->meaning,
                             known->low, known->high, name, known->usual));
  }
  return step;
}

std::expected<std::vector<StepConfig>, Error> parse_steps(std::string_view text) {
  std::vector<StepConfig> steps;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    auto step = parse_step(text.substr(begin, end - begin));
    if (!step) return std::unexpected(step.error());
    steps.push_back(std::move(*step));
    begin = end + 1;
  }
  return steps;
}

std::vector<std::string> gain_names() {
  return {"latency", "memory", "energy", "size", "download"};
}

std::string PipelineConfig::gain_of(const StepConfig& step) const {
  if (step.name == "distill") return "accuracy";
  if (!gain.empty()) return gain;
  return step.name == "cluster" ? "download" : "latency";
}

double PipelineConfig::training_epochs() const {
  double sum = 0;
  for (const StepConfig& step : steps) {
    if (step.name == "distill") sum += step.amount;
    if (step.name == "prune" || step.name == "cluster") sum += epochs;
  }
  return sum;
}

}  // namespace finch::controller
