#include "controller/campaign/deployed_kind.hpp"

#include <algorithm>
#include <cmath>
#include <format>

#include "protocol/model_format.hpp"

namespace finch::controller {

DeployedKind deployed_kind(const std::string& kind, const DeployConfig& deploy) {
  const std::size_t at = kind.find('@');
  if (at == std::string::npos) return {kind, deploy.runtime};
  return {kind.substr(0, at), kind.substr(at + 1)};
}

std::string kind_name(const DeployedKind& kind, const DeployConfig& deploy) {
  return kind.runtime == deploy.runtime ? kind.precision : kind.precision + "@" + kind.runtime;
}

std::vector<std::string> campaign_runtimes(const CampaignConfig& config) {
  std::vector<std::string> runtimes = {config.deploy.runtime};
  runtimes.insert(runtimes.end(), config.finalists.runtimes.begin(), config.finalists.runtimes.end());
  return runtimes;
}

std::vector<std::string> campaign_formats(const CampaignConfig& config) {
  std::vector<std::string> formats;
  for (const std::string& runtime : campaign_runtimes(config)) {
    const std::string format(protocol::format_read_by(runtime));
    if (!std::ranges::contains(formats, format)) formats.push_back(format);
  }
  return formats;
}

std::vector<std::string> finalist_kinds(const CampaignConfig& config, const ExportedFiles& files) {
  std::vector<std::string> kinds;
  for (const std::string& runtime : campaign_runtimes(config)) {
    for (const protocol::ExportedFile& file : files) {
      if (format_of(file) == protocol::format_read_by(runtime))
        kinds.push_back(kind_name({file.precision(), runtime}, config.deploy));
    }
  }
  return kinds;
}

std::string format_of(const protocol::ExportedFile& file) {
  return file.format().empty() ? "onnx" : file.format();
}

const protocol::ExportedFile* file_of(const ExportedFiles& files, const DeployedKind& kind) {
  const auto found = std::ranges::find_if(files, [&](const protocol::ExportedFile& file) {
    return file.precision() == kind.precision && format_of(file) == protocol::format_read_by(kind.runtime);
  });
  return found == files.end() ? nullptr : &*found;
}

std::string accuracy_difference(double deployed, double expected, std::int64_t images, double tolerance) {
  // Rounding decides images that lie near a border between classes, one in fifty at most, either way: twice the
  // standard deviation of what that adds up to, and three images where there are few.
  constexpr double kNearABorder = 0.02;
  const auto count = static_cast<double>(images);
  const double rounding = std::max(3.5, 2 * std::sqrt(kNearABorder * count));
  const double difference = std::abs(deployed - expected);
  if (difference * count < rounding || 100 * difference <= tolerance) return {};
  return std::format("{:.2f} % of {} images instead of {:.2f} %, more than finalists.accuracy_tolerance = {:g} apart",
                     100 * deployed, images, 100 * expected, tolerance);
}

}  // namespace finch::controller
