// The ways in which a finalist is deployed, precision by precision and runtime by runtime, and what its files should
// give. Pure; thread safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "controller/config/campaign_config.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

using ExportedFiles = google::protobuf::RepeatedPtrField<protocol::ExportedFile>;

// In events and in the report "int8", or "int8@openvino" with a runtime other than the search's.
struct DeployedKind {
  std::string precision, runtime;
};
DeployedKind deployed_kind(const std::string& kind, const DeployConfig& deploy);
std::string kind_name(const DeployedKind& kind, const DeployConfig& deploy);

// The runtimes of a campaign, the search's first.
std::vector<std::string> campaign_runtimes(const CampaignConfig& config);
// In which these read their models; each once.
std::vector<std::string> campaign_formats(const CampaignConfig& config);

// Each of the files with each of the campaign's runtimes that reads it, the search's first.
std::vector<std::string> finalist_kinds(const CampaignConfig& config, const ExportedFiles& files);
std::string format_of(const protocol::ExportedFile& file);
// The file of that kind; null: the trainer exported none.
const protocol::ExportedFile* file_of(const ExportedFiles& files, const DeployedKind& kind);

// Why the accuracy of a deployed file is not what it should be; empty: it is. Both 0..1, over the same images; what
// differs by three images or less, or by no more than rounding decides among so many, is none, whatever the tolerance
// (points).
std::string accuracy_difference(double deployed, double expected, std::int64_t images, double tolerance);

}  // namespace finch::controller
