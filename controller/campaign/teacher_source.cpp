#include "controller/campaign/teacher_source.hpp"

#include <format>
#include <fstream>
#include <nlohmann/json.hpp>

#include "controller/campaign/campaign_artifact.hpp"

namespace finch::controller {
namespace {

namespace fs = std::filesystem;

// Empty: it has none.
fs::path best_model(const fs::path& folder) {
  std::ifstream file(folder / "front.json");
  const auto front = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  fs::path best;
  double best_top1 = -1;
  if (!front.is_object()) return best;
  for (const auto& model : front.value("models", nlohmann::json::array())) {
    for (const auto& entry : model.value("files", nlohmann::json::array())) {
      const double top1 = entry.value("accuracy", nlohmann::json::object()).value("top1", -1.0);
      if (entry.value("precision", "") != "fp32" || top1 <= best_top1) continue;
      best_top1 = top1;
      best = folder / entry.value("path", "");
    }
  }
  return best;
}

std::expected<TeacherFile, Error> teacher_of_campaign(const fs::path& folder, const fs::path& artifacts) {
  const auto own = artifact_of_campaign(folder, "teacher", "model", artifacts);
  if (!own) return std::unexpected(own.error());
  if (!own->empty()) return TeacherFile{.path = *own, .onnx = false};
  fs::path best = best_model(folder);
  std::error_code ignored;
  if (!best.empty() && fs::is_regular_file(best, ignored)) return TeacherFile{.path = std::move(best), .onnx = true};
  return std::unexpected(
      Error{std::format("{}: this campaign has neither a teacher that is still there nor a model; name another one",
                        folder.string()),
            ExitCode::usage});
}

}  // namespace

std::expected<std::vector<TeacherFile>, Error> teacher_files(const TeacherConfig& teacher, const fs::path& artifacts) {
  std::vector<std::string> names = teacher.models;
  for (const auto& name : {teacher.torchscript, teacher.onnx, teacher.from}) {
    if (name) names.push_back(*name);
  }
  std::vector<TeacherFile> files;
  for (const std::string& name : names) {
    std::error_code ignored;
    if (fs::is_directory(name, ignored)) {
      auto file = teacher_of_campaign(name, artifacts);
      if (!file) return std::unexpected(file.error());
      files.push_back(std::move(*file));
    } else {
      files.push_back({.path = name, .onnx = teacher.onnx == name || name.ends_with(".onnx")});
    }
  }
  return files;
}

}  // namespace finch::controller
