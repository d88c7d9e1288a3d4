// What the reference network takes on this device when all is well, kept by the agent: by it a later measurement tells
// that the device has drifted, and its latency can be told free of the drift. Thread safe for one writer.
#pragma once

#include <expected>
#include <filesystem>
#include <optional>
#include <string>

#include "agent/error.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

// A folder with one file for each state of the device (which names the runtime too): after an upgrade there is no
// baseline until the device is calibrated again.
class ReferenceBaselines {
 public:
  // Empty: nothing is known, and nothing can be kept.
  explicit ReferenceBaselines(std::filesystem::path folder = {}) : folder_(std::move(folder)) {}

  // Nothing: none was taken in this state, or its file is damaged.
  std::optional<protocol::Calibration> of(const std::string& state_hash) const;
  // Errors: not writable, disk full, no folder.
  std::expected<void, Error> keep(const protocol::Calibration& calibration) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace finch::agent
