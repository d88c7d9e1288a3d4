#include "controller/campaign/accuracy_info.hpp"

#include <algorithm>

#include "controller/campaign/accuracy_statistics.hpp"

namespace finch::controller {
namespace {

constexpr double kSignificance = 0.05;

}  // namespace

AccuracyInfo accuracy_info(const protocol::Evaluation& evaluation, const std::vector<std::int32_t>& labels) {
  AccuracyInfo info{.top1 = evaluation.top1(), .samples = evaluation.samples(), .split = "test"};
  const double right = evaluation.top1() * static_cast<double>(evaluation.samples());
  const Interval interval = wilson_interval(right, evaluation.samples());
  info.ci_low = interval.low;
  info.ci_high = interval.high;
  const auto& predictions = evaluation.predictions();
  if (predictions.empty() || static_cast<std::size_t>(predictions.size()) != labels.size()) return info;
  info.confusion = confusion_of(labels, {predictions.data(), labels.size()});
  for (std::size_t i = 0; i < labels.size(); ++i) info.right.push_back(labels[i] == predictions[static_cast<int>(i)]);
  for (const Metric metric : kMetrics) {
    if (metric == Metric::top1) continue;
    const Interval around = bootstrap_interval(metric, info.confusion);
    info.metrics.push_back({name_of(metric), value_of(metric, info.confusion), around.low, around.high});
  }
  return info;
}

void mark_ties(std::vector<FrontModel>& models, const std::string& precision) {
  std::vector<std::pair<FrontModel*, const std::vector<bool>*>> known;
  for (FrontModel& model : models) {
    const auto file = std::ranges::find(model.files, precision, &ModelFile::precision);
    if (file != model.files.end() && file->accuracy && !file->accuracy->right.empty())
      known.emplace_back(&model, &file->accuracy->right);
  }
  std::vector<std::pair<FrontModel*, FrontModel*>> pairs;
  std::vector<double> p;
  for (std::size_t i = 0; i < known.size(); ++i) {
    for (std::size_t j = i + 1; j < known.size(); ++j) {
      pairs.emplace_back(known[i].first, known[j].first);
      p.push_back(paired_p(*known[i].second, *known[j].second));
    }
  }
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (adjusted[i] < kSignificance) continue;
    pairs[i].first->tied_with.push_back(pairs[i].second->id);
    pairs[i].second->tied_with.push_back(pairs[i].first->id);
  }
}

}  // namespace finch::controller
