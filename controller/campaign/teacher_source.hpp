// Where a campaign's teachers come from: files of the user's, and what other campaigns left. Free functions; thread
// safe.
#pragma once

#include <expected>
#include <filesystem>
#include <vector>

#include "controller/config/campaign_config.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct TeacherFile {
  std::filesystem::path path;
  bool onnx = false;  // run by a device's runtime; or else a TorchScript module or Finch's own teacher
};

// The files that [teacher] names; none: Finch trains its own. A campaign's folder stands for its teacher where
// `artifacts`, the home's folder of these, still has it, and otherwise for the fp32 file of its most accurate model.
// Errors: a campaign that has neither.
std::expected<std::vector<TeacherFile>, Error> teacher_files(const TeacherConfig& teacher,
                                                             const std::filesystem::path& artifacts);

}  // namespace finch::controller
