#include "agent/reference_baseline.hpp"

#include "protocol/durable_file.hpp"

namespace finch::agent {

std::optional<protocol::Calibration> ReferenceBaselines::of(const std::string& state_hash) const {
  if (folder_.empty() || state_hash.empty()) return std::nullopt;
  const auto bytes = protocol::read_whole_file(folder_ / state_hash);
  protocol::Calibration calibration;
  if (!bytes || !calibration.ParseFromString(*bytes) || calibration.state_hash() != state_hash ||
      calibration.reference_ms() <= 0)
    return std::nullopt;
  return calibration;
}

std::expected<void, Error> ReferenceBaselines::keep(const protocol::Calibration& calibration) const {
  if (folder_.empty()) return std::unexpected(Error{"this agent has no folder to keep a baseline in; give it --state"});
  auto kept = protocol::make_folder(folder_).and_then([&] {
    return protocol::write_durably(folder_ / calibration.state_hash(), calibration.SerializeAsString(), 0600);
  });
  if (!kept) return std::unexpected(Error{kept.error().message, true});
  return {};
}

}  // namespace finch::agent
