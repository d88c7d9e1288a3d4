#include "controller/campaign/model_choice.hpp"

#include <algorithm>
#include <format>
#include <set>

#include "controller/campaign/accuracy_statistics.hpp"

namespace finch::controller {
namespace {

constexpr double kSignificance = 0.05;

// Of each device that counts, the runtime that is fastest there.
std::vector<const MeasurementInfo*> deployments(const ModelFile& file, const std::string& device) {
  std::vector<const MeasurementInfo*> fastest;
  for (const MeasurementInfo& m : file.measurements) {
    if (!device.empty() && m.device != device && (!m.pooled || m.pooled->pool != device)) continue;
    const auto known = std::ranges::find(fastest, m.device, &MeasurementInfo::device);
    if (known == fastest.end()) {
      fastest.push_back(&m);
    } else if (m.median_ms < (*known)->median_ms) {
      *known = &m;
    }
  }
  return fastest;
}

bool has_several_runtimes(const CampaignResult& result) {
  std::set<std::string> runtimes;
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      for (const MeasurementInfo& m : file.measurements) runtimes.insert(m.deploy.runtime);
    }
  }
  return runtimes.size() > 1;
}

std::vector<std::string> broken(const CampaignResult& result, const ModelFile& file, const Limits& limits) {
  std::vector<std::string> reasons;
  for (const MeasurementInfo* m : deployments(file, limits.device)) {
    if (limits.latency_ms && m->ci_high_ms > *limits.latency_ms) {
      reasons.push_back(std::format("{:.4g} ms [{:.4g}, {:.4g}] on {}, the limit is {:.4g} ms", m->median_ms,
                                    m->ci_low_ms, m->ci_high_ms, m->device, *limits.latency_ms));
    }
    const auto memory = static_cast<double>(m->run_peak_bytes);
    if (limits.memory_bytes && memory > *limits.memory_bytes) {
      reasons.push_back(std::format("{:.1f} MiB on {}, the limit is {:.1f} MiB", memory / (1 << 20), m->device,
                                    *limits.memory_bytes / (1 << 20)));
    }
  }
  const MetricInfo accuracy = accuracy_of(result, file);
  if (limits.accuracy && accuracy.value < *limits.accuracy) {
    reasons.push_back(std::format("{} of {:.2f} %, the limit is {:.2f} %", accuracy.name, 100 * accuracy.value,
                                  100 * *limits.accuracy));
  }
  return reasons;
}

// By how much the limits would have to give, summed; 0: keeps them.
double excess(const CampaignResult& result, const ModelFile& file, const Limits& limits) {
  double sum = 0;
  for (const MeasurementInfo* m : deployments(file, limits.device)) {
    if (limits.latency_ms) sum += std::max(0.0, m->ci_high_ms / *limits.latency_ms - 1);
    if (limits.memory_bytes) sum += std::max(0.0, static_cast<double>(m->run_peak_bytes) / *limits.memory_bytes - 1);
  }
  if (limits.accuracy) sum += std::max(0.0, *limits.accuracy - accuracy_of(result, file).value);
  return sum;
}

std::vector<TiedFile> tied_with(const CampaignResult& result, const ChosenFile& best,
                                const std::vector<ChosenFile>& others) {
  const MetricInfo at_best = accuracy_of(result, *best.file);
  const std::vector<bool>& right = best.file->accuracy->right;
  std::vector<double> p;
  for (const ChosenFile& other : others) {
    const std::vector<bool>& others_right = other.file->accuracy->right;
    const bool paired = at_best.name == "top1" && !right.empty() && right.size() == others_right.size();
    if (paired) p.push_back(paired_p(right, others_right));
    if (!paired) p.push_back(accuracy_of(result, *other.file).value >= at_best.ci_low ? 1 : 0);
  }
  const std::vector<double> adjusted = holm(p);
  std::vector<TiedFile> tied;
  for (std::size_t i = 0; i < others.size(); ++i) {
    if (adjusted[i] >= kSignificance) tied.push_back({others[i], adjusted[i]});
  }
  return tied;
}

std::string figures(const CampaignResult& result, const ChosenFile& file, const std::string& device) {
  const MetricInfo accuracy = accuracy_of(result, *file.file);
  return std::format("{}: {} {:.2f} % [{:.2f}, {:.2f}], {:.4g} ms", file.name(), accuracy.name, 100 * accuracy.value,
                     100 * accuracy.ci_low, 100 * accuracy.ci_high, latency_of(*file.file, device));
}

std::vector<std::string> explain(const CampaignResult& result, const ModelChoice& choice, std::size_t files,
                                 const std::string& device) {
  std::vector<std::string> lines = {
      std::format("The front has {} tested files; {} break a limit.", files, choice.excluded.size())};
  for (const ExcludedFile& excluded : choice.excluded) {
    for (const std::string& reason : excluded.reasons)
      lines.push_back(std::format("Excluded: {}: {}.", excluded.file.name(), reason));
  }
  lines.push_back("Most accurate of the others: " + figures(result, choice.most_accurate, device) + ".");
  for (const TiedFile& tied : choice.tied) {
    lines.push_back(
        std::format("Not told from it by {} test images{}: {}.", choice.most_accurate.file->accuracy->samples,
                    tied.p < 1 ? std::format(" (p = {:.2f})", tied.p) : "", figures(result, tied.file, device)));
  }
  const bool best = choice.chosen.file == choice.most_accurate.file;
  if (choice.tied.empty()) {
    lines.push_back("Chosen: " + choice.chosen.name() + ", since no other is as accurate.");
  } else if (best) {
    lines.push_back("Chosen: " + choice.chosen.name() + ", the most accurate, and the fastest of these.");
  } else {
    lines.push_back(
        std::format("Chosen: {}, the fastest of these: {:.2f} x as fast as {}.", choice.chosen.name(),
                    latency_of(*choice.most_accurate.file, device) / latency_of(*choice.chosen.file, device),
                    choice.most_accurate.name()));
  }
  for (const MeasurementInfo* m : deployments(*choice.chosen.file, device)) {
    if (has_several_runtimes(result))
      lines.push_back(std::format("Fastest on {} with {}: {:.4g} ms.", m->device, m->deploy.runtime, m->median_ms));
    if (m->verdict == "VALID") continue;
    std::string reasons;
    for (const std::string& reason : m->reasons) reasons += (reasons.empty() ? "" : ", ") + reason;
    lines.push_back(std::format("Its measurement on {} is {}: {}.", m->device, m->verdict, reasons));
  }
  return lines;
}

}  // namespace

double latency_of(const ModelFile& file, const std::string& device) {
  double worst = 0;
  for (const MeasurementInfo* m : deployments(file, device)) worst = std::max(worst, compared_latency(*m).median_ms);
  return worst;
}

MetricInfo accuracy_of(const CampaignResult& result, const ModelFile& file) {
  const std::string wanted = result.objectives.empty() ? "accuracy" : result.objectives.front().name;
  const auto found = std::ranges::find(file.accuracy->metrics, wanted, &MetricInfo::name);
  if (found != file.accuracy->metrics.end()) return *found;
  return {"top1", file.accuracy->top1, file.accuracy->ci_low, file.accuracy->ci_high};
}

std::expected<ModelChoice, Error> choose_model(const CampaignResult& result, const Limits& limits) {
  ModelChoice choice;
  std::vector<ChosenFile> files, kept;
  std::string devices;
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      if (!file.accuracy || file.measurements.empty()) continue;
      files.push_back({&model, &file});
    }
  }
  if (files.empty())
    return std::unexpected(Error{"the front has no tested model; finish the campaign: finch resume RUN"});
  for (const MeasurementInfo* m : deployments(*files.front().file, ""))
    devices += (devices.empty() ? "" : ", ") + (m->pooled ? m->device + " (" + m->pooled->pool + ")" : m->device);
  if (!limits.device.empty() && latency_of(*files.front().file, limits.device) == 0) {
    return std::unexpected(
        Error{std::format("nothing was measured on '{}'; the campaign's devices: {}", limits.device, devices),
              ExitCode::usage});
  }
  for (const ChosenFile& file : files) {
    if (auto reasons = broken(result, *file.file, limits); !reasons.empty()) {
      choice.excluded.push_back({file, std::move(reasons)});
    } else {
      kept.push_back(file);
    }
  }
  if (kept.empty()) {
    const auto& nearest = *std::ranges::min_element(
        choice.excluded, {}, [&](const ExcludedFile& excluded) { return excess(result, *excluded.file.file, limits); });
    std::string reasons;
    for (const std::string& reason : nearest.reasons) reasons += (reasons.empty() ? "" : "; ") + reason;
    return std::unexpected(Error{
        std::format("no file of the front keeps the limits; the nearest is {}: {}", nearest.file.name(), reasons)});
  }
  choice.most_accurate = *std::ranges::max_element(kept, {}, [&](const ChosenFile& file) {
    return std::pair(accuracy_of(result, *file.file).value, -latency_of(*file.file, limits.device));
  });
  std::erase_if(kept, [&](const ChosenFile& file) { return file.file == choice.most_accurate.file; });
  choice.tied = tied_with(result, choice.most_accurate, kept);
  const auto latency = [&](const ChosenFile& file) { return latency_of(*file.file, limits.device); };
  std::ranges::sort(choice.tied, {}, [&](const TiedFile& tied) { return latency(tied.file); });
  choice.chosen = choice.most_accurate;
  if (!choice.tied.empty() && latency(choice.tied.front().file) < latency(choice.chosen))
    choice.chosen = choice.tied.front().file;
  choice.explanation = explain(result, choice, files.size(), limits.device);
  return choice;
}

}  // namespace finch::controller
