// What a kind of board is and what people deploy on it: profiles/NAME.toml. A plain value; concurrent reads are safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "controller/config/measure_parameters.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct DeviceProfile {
  std::string name;            // "raspberry-pi-4"
  std::string description;     // "Raspberry Pi 4 Model B, 4 x Cortex-A72 at 1.8 GHz"
  std::int64_t cores = 0;      // 0: as found on the device
  std::int64_t memory_mb = 0;  // MiB; 0: as found
  // Share of memory that one model may use for activations before it is refused, 0..1.
  double memory_budget = 0.5;
  std::vector<std::string> sensors;    // "thermal", "throttle", "pmic-sum", "rail", ...
  std::vector<std::string> providers;  // runtime providers in order of preference: "cpu", "cuda", "tensorrt"
  // Defaults of [deploy].
  std::string deploy_provider = "cpu";
  std::string deploy_precision = "fp32";
  std::int64_t deploy_threads = 1;
  // Defaults of [constraints]: what is usually asked of such a board; 0: none.
  double latency_budget_ms = 0;
  MeasureOverrides measure = {};  // of how it is measured
};

// `name_or_path`: a profile's name, looked up in the profiles folder, or a path to a .toml file.
// Errors: not there (lists the known names), unknown key, wrong type: file, line, key; exit code `usage`.
std::expected<DeviceProfile, Error> load_profile(const std::string& name_or_path);
// What it changes of measuring; nothing for a device that has joined with no profile. Errors: as of load_profile().
std::expected<MeasureOverrides, Error> measure_overrides_of(const std::string& name_or_path);
std::vector<std::string> profile_names();
// The folder with the profiles: $FINCH_PROFILES, or profiles/ of the source tree or installation.
std::filesystem::path profiles_folder();

}  // namespace finch::controller
