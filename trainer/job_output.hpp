// What a running job gives back: progress, and artifacts in its output folder. Not thread safe.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "protocol/farm.pb.h"
#include "trainer/error.hpp"

namespace finch::trainer {

class JobOutput {
 public:
  JobOutput(std::filesystem::path folder, std::function<void(const protocol::ChildEvent&)> emit);

  // At most two events a second; `fraction` of the whole job.
  void progress(double fraction, const std::string& message);
  // A progress report for a part of the job, from `begin` to `end` of the whole.
  std::function<void(double)> part(double begin, double end, std::string message);
  // Writes folder/<sha256>. Errors: not writable, disk full.
  std::expected<protocol::ArtifactRef, Error> write(std::string_view bytes);

 private:
  std::filesystem::path folder_;
  std::function<void(const protocol::ChildEvent&)> emit_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace finch::trainer
