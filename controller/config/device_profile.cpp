#include "controller/config/device_profile.hpp"

#include <algorithm>
#include <cstdlib>
#include <format>
#include <limits>

#include "controller/config/toml_reader.hpp"

namespace finch::controller {

std::filesystem::path profiles_folder() {
  if (const char* folder = std::getenv("FINCH_PROFILES"); folder != nullptr && *folder != '\0') return folder;
  // build/release/bin/finch -> profiles/ of the source tree; /usr/bin/finch -> /usr/share/finch/profiles.
  const auto bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const auto source = bin.parent_path().parent_path().parent_path() / "profiles";
  return std::filesystem::exists(source) ? source : bin.parent_path() / "share/finch/profiles";
}

std::vector<std::string> profile_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(profiles_folder(), error)) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

std::expected<DeviceProfile, Error> load_profile(const std::string& name_or_path) {
  const bool path = name_or_path.ends_with(".toml");
  const std::filesystem::path file =
      path ? std::filesystem::path(name_or_path) : profiles_folder() / (name_or_path + ".toml");
  std::error_code ignored;
  if (!path && !std::filesystem::exists(file, ignored)) {
    const auto names = profile_names();
    return std::unexpected(
        Error{std::format("there is no device profile '{}' in {}{}", name_or_path, profiles_folder().string(),
                          did_you_mean(name_or_path, {names.begin(), names.end()})),
              ExitCode::usage});
  }
  const auto text = read_text(file);
  if (!text) return std::unexpected(text.error());
  auto reader = TomlReader::parse(*text, file);
  if (!reader) return std::unexpected(reader.error());
  constexpr std::int64_t kMany = std::numeric_limits<std::int64_t>::max();
  DeviceProfile profile;
  profile.name = file.stem().string();
  TomlTable device = (*reader)->table("device");
  device.read("description", profile.description);
  device.read("cores", profile.cores, 0, 1024);
  device.read("memory_mb", profile.memory_mb, 0, kMany);
  device.read("sensors", profile.sensors);
  device.read("providers", profile.providers);
  device.done();
  TomlTable deploy = (*reader)->table("deploy");
  deploy.read("provider", profile.deploy_provider);
  deploy.read_choice("precision", profile.deploy_precision, {"fp32", "int8"});
  deploy.read("threads", profile.deploy_threads, 1, 1024);
  deploy.done();
  TomlTable budget = (*reader)->table("budget");
  budget.read("latency_ms", profile.latency_budget_ms, 0.0, 1e6);
  budget.read("memory_share", profile.memory_budget, 0.001, 1.0);
  budget.done();
  TomlTable measure = (*reader)->table("measure");
  profile.measure = read_measure_overrides(measure);
  if (const auto finished = (*reader)->finish(); !finished) return std::unexpected(finished.error());
  return profile;
}

std::expected<MeasureOverrides, Error> measure_overrides_of(const std::string& name_or_path) {
  if (name_or_path.empty()) return MeasureOverrides{};
  return load_profile(name_or_path).transform([](const DeviceProfile& profile) { return profile.measure; });
}

}  // namespace finch::controller
