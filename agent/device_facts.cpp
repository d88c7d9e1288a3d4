#include "agent/device_facts.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <format>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "agent/frequency_source.hpp"
#include "agent/launch.pb.h"
#include "agent/raspberry_firmware.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// All values of a "key : value" line, in order.
std::vector<std::string> values_of(std::string_view text, std::string_view key) {
  std::vector<std::string> values;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == key) {
      values.emplace_back(trimmed(line.substr(colon + 1)));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return values;
}

// Arm's part numbers of the boards' cores (Arm Ltd., "Main ID Register" in each core's reference manual).
std::string arm_cores(std::string_view cpuinfo) {
  static const std::map<std::string_view, std::string_view> kParts = {
      {"0xd03", "Cortex-A53"},  {"0xd04", "Cortex-A35"},  {"0xd05", "Cortex-A55"},   {"0xd07", "Cortex-A57"},
      {"0xd08", "Cortex-A72"},  {"0xd09", "Cortex-A73"},  {"0xd0a", "Cortex-A75"},   {"0xd0b", "Cortex-A76"},
      {"0xd0c", "Neoverse-N1"}, {"0xd40", "Neoverse-V1"}, {"0xd42", "Cortex-A78AE"}, {"0xd49", "Neoverse-N2"},
      {"0xd4f", "Neoverse-V2"}, {"0x004", "Carmel"}};
  std::set<std::string> names;
  for (const std::string& part : values_of(cpuinfo, "CPU part")) {
    const auto known = kParts.find(part);
    names.insert(known == kParts.end() ? "ARM part " + part : std::string(known->second));
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : " + ") + name;
  return list;
}

std::string cpu_model(const SystemFiles& files, std::string_view cpuinfo) {
  const auto names = values_of(cpuinfo, "model name");
  std::string cpu = names.empty() ? arm_cores(cpuinfo) : names.front();
  auto board = files.read("/proc/device-tree/model");
  if (!board) {
    const auto models = values_of(cpuinfo, "Model");
    if (!models.empty()) board = models.front();
  }
  if (!board || board->empty()) return cpu;
  return cpu.empty() ? *board : std::format("{} ({})", *board, cpu);
}

std::int64_t memory_bytes(const SystemFiles& files) {
  const auto text = files.read("/proc/meminfo");
  if (!text) return 0;
  const auto totals = values_of(*text, "MemTotal");
  if (totals.empty()) return 0;
  return parse_number(std::string_view(totals[0]).substr(0, totals[0].find(' '))).value_or(0) * 1024;
}

std::string operating_system(const SystemFiles& files) {
  const std::string text = files.read("/etc/os-release").value_or("");
  constexpr std::string_view kKey = "PRETTY_NAME=";
  std::size_t at = text.find(kKey);
  if (at == std::string::npos) return {};
  std::string name = text.substr(at + kKey.size(), text.find('\n', at) - at - kKey.size());
  std::erase(name, '"');
  return name;
}

// By NVIDIA's driver. A Jetson's is told by its board, which cpu_model() names.
std::string gpu(const SystemFiles& files) {
  std::map<std::string, int> models;
  for (const std::string& card : files.list("/proc/driver/nvidia/gpus")) {
    for (std::string& model : values_of(files.read(card + "/information").value_or(""), "Model")) ++models[model];
  }
  std::string text;
  for (const auto& [model, count] : models) {
    text += (text.empty() ? "" : " + ") + (count > 1 ? std::format("{} x {}", count, model) : model);
  }
  const auto driver = files.read("/sys/module/nvidia/version");
  return text.empty() || !driver ? text : std::format("{} (driver {})", text, *driver);
}

// Of a PC or a board with UEFI what the firmware says, of a Jetson the release of its board support package too, of a
// Raspberry Pi the boot loader in its EEPROM and the firmware of its VideoCore.
std::string firmware(const SystemFiles& files) {
  std::string text;
  const auto add = [&](const char* what, std::optional<std::string> version) {
    if (!version) return;
    version->erase(std::min(version->find('\n'), version->size()));
    if (!version->empty()) text += std::format("{}{} {}", text.empty() ? "" : ", ", what, *version);
  };
  add("BIOS", files.read("/sys/class/dmi/id/bios_version"));
  add("L4T", files.read("/etc/nv_tegra_release"));
  add("U-Boot", files.read("/proc/device-tree/chosen/u-boot,version"));
  add("boot loader", files.read("/proc/device-tree/chosen/bootloader/version"));
  // Its date and its maker are the lines before.
  constexpr std::string_view kVersion = "version ";
  if (const auto answer = ask_raspberry_firmware(files, "version")) {
    if (const std::size_t at = answer->find(kVersion); at != std::string::npos)
      add("VideoCore", answer->substr(at + kVersion.size()));
  }
  return text;
}

std::string governor(const SystemFiles& files) {
  std::set<std::string> governors;
  for (const std::string& policy : files.list("/sys/devices/system/cpu/cpufreq", "policy")) {
    if (auto name = files.read(policy + "/scaling_governor")) governors.insert(*name);
  }
  std::string list;
  for (const std::string& name : governors) list += (list.empty() ? "" : "+") + name;
  return list;
}

}  // namespace

std::string energy_obstacle(const SystemFiles& files, const PowerSettings& power) {
  constexpr int kTries = 3;  // a meter that has just been started may need a moment
  const auto sensors = find_power_sensors(files, power);
  std::string problem;
  for (const auto& sensor : sensors) {
    const bool whole = !sensor->total_rails().empty();
    for (int i = 0; i < (whole ? kTries : 1); ++i) {
      const PowerReading reading = sensor->read();
      if (total_power_mw(reading, sensor->total_rails())) return {};
      if (!reading.problems.empty()) problem = reading.problems.front();
    }
    if (whole) break;  // this one is what energy is measured with
  }
  if (!problem.empty()) return "energy: " + problem;
  if (!sensors.empty()) return "energy: nothing says which of the power rails here are the whole board (see probe)";
  return "energy: no power sensor found (looked for ina sensors on the i2c bus and in hwmon, for the power chip of a "
         "Raspberry Pi 5, and for RAPL in powercap); a meter beside the board is read with --power-command";
}

std::expected<protocol::RuntimeDescription, Error> probe_runtime(const InferenceRuntime& runtime,
                                                                 const std::string& library, const Launcher& launcher) {
  LaunchRequest request;
  request.set_runtime(std::string(runtime.name));
  request.set_library(library);
  request.mutable_probe();
  const auto probed = launcher(request, {}, {});
  if (!probed) return std::unexpected(probed.error());
  protocol::RuntimeDescription description;
  description.set_name(std::string(runtime.name));
  description.set_version(probed->probe().version());
  for (const std::string& provider : probed->probe().providers()) description.add_providers(provider);
  description.set_engine_builder(probed->probe().engine_builder());
  return description;
}

protocol::DeviceDescription read_device(const SystemFiles& files) {
  protocol::DeviceDescription device;
  const std::string cpuinfo = files.read("/proc/cpuinfo").value_or("");
  utsname system{};
  uname(&system);
  device.set_machine(system.machine);
  device.set_cpu_model(cpu_model(files, cpuinfo));
  device.set_cores(static_cast<int>(values_of(cpuinfo, "processor").size()));
  device.set_memory_bytes(memory_bytes(files));
  device.set_operating_system(operating_system(files));
  device.set_kernel(files.read("/proc/sys/kernel/osrelease").value_or(system.release));
  device.set_gpu(gpu(files));
  device.set_firmware(firmware(files));
  read_settings(device, files);
  return device;
}

void read_settings(protocol::DeviceDescription& device, const SystemFiles& files) {
  device.set_governor(governor(files));
  device.set_power_mode(open_frequency_sources(files)->read().power_mode);
}

void add_runtimes(protocol::DeviceDescription& device, const SystemFiles& files, const Launcher& launcher,
                  const RuntimeLibraries& libraries, const PowerSettings& power) {
  std::string problem;  // the first
  for (const InferenceRuntime& known : inference_runtimes()) {
    const std::string library = library_of(libraries, known.name);
    if (library.empty() && known.name != "onnxruntime") continue;  // absent; nothing is wrong with that
    const auto probed = probe_runtime(known, library, launcher);
    if (probed) {
      *device.add_runtimes() = *probed;
    } else if (problem.empty()) {
      problem = probed.error().message;
    }
  }
  const bool any = device.runtimes_size() > 0;
  for (const char* quantity : {"latency", "memory"}) {
    if (any) {
      device.add_measures(quantity);
    } else {
      device.add_cannot_measure(std::format("{}: {}", quantity, problem));
    }
  }
  if (any && !problem.empty()) device.add_cannot_measure("with another runtime: " + problem);
  // Without a runtime there is nothing to run.
  const std::string obstacle = any ? energy_obstacle(files, power) : "energy: " + problem;
  if (obstacle.empty()) {
    device.add_measures("energy");
  } else {
    device.add_cannot_measure(obstacle);
  }
  set_state_hashes(device);
}

void set_state_hashes(protocol::DeviceDescription& device) {
  constexpr std::int64_t kMemoryStep = std::int64_t{64} << 20;
  protocol::DeviceDescription state = device;
  state.clear_name();
  state.clear_profile();
  state.clear_state_hash();
  for (protocol::RuntimeDescription& runtime : *state.mutable_runtimes()) {
    runtime.clear_state_hash();
    runtime.clear_baseline_ms();
  }
  state.set_memory_bytes((device.memory_bytes() + kMemoryStep / 2) / kMemoryStep * kMemoryStep);
  // Fields in the order of their numbers and no maps: the same bytes for the same state.
  device.set_state_hash(protocol::sha256_hex(state.SerializeAsString()));
  const auto runtimes = std::exchange(*state.mutable_runtimes(), {});
  state.clear_cannot_measure();  // which may speak of other runtimes
  for (int i = 0; i < runtimes.size(); ++i) {
    *state.mutable_runtimes() = {};
    *state.add_runtimes() = runtimes[i];
    device.mutable_runtimes(i)->set_state_hash(protocol::sha256_hex(state.SerializeAsString()));
  }
}

std::string state_hash_with(const protocol::DeviceDescription& device, std::string_view runtime) {
  const auto found = std::ranges::find(device.runtimes(), runtime, &protocol::RuntimeDescription::name);
  return found == device.runtimes().end() ? "" : found->state_hash();
}

std::string host_id(const SystemFiles& files) {
  if (auto boot = files.read("/proc/sys/kernel/random/boot_id"); boot && !boot->empty()) return *boot;
  utsname system{};
  uname(&system);
  return system.nodename;
}

}  // namespace finch::agent
