// PowerSensor of RAPL: energy counters of Intel and AMD processors.
#include <format>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "agent/board_power.hpp"

namespace finch::agent {
namespace {

// The counters step about every millisecond; over so long a step is below a percent.
constexpr std::chrono::milliseconds kShortest{100};
// The largest unit of the counters that is in use (Intel SDM volume 3, 15.10.1): 2^-14 J.
constexpr double kUnitMicrojoule = 61.04;

struct RaplZone {
  std::string label;  // "package-0", "package-0 dram"
  std::string folder;
  std::int64_t wraps_at = 0;
  std::optional<std::int64_t> energy_uj;
};

class RaplPower final : public PowerSensor {
 public:
  RaplPower(const SystemFiles& files, std::vector<RaplZone> zones, std::vector<std::string> total)
      : files_(files), zones_(std::move(zones)), total_(std::move(total)), at_(monotonic_now()) {
    for (RaplZone& zone : zones_) zone.energy_uj = energy(zone);
  }

  PowerProvenance provenance() const override { return PowerProvenance::kRapl; }
  const std::vector<std::string>& total_rails() const override { return total_; }

  // The mean since the reading before, at the middle of that time.
  PowerReading read() override {
    std::this_thread::sleep_for(at_ + kShortest - monotonic_now());
    const auto now = monotonic_now();
    const double seconds = std::chrono::duration<double>(now - at_).count();
    PowerReading reading{.at = at_ + (now - at_) / 2, .rails = {}, .problems = {}};
    for (RaplZone& zone : zones_) {
      const auto before = std::exchange(zone.energy_uj, energy(zone));
      if (!before || !zone.energy_uj) {
        reading.problems.push_back(
            std::format("RAPL {} cannot be read: {}/energy_uj is for root; run the agent as root, or let its user read "
                        "the file",
                        zone.label, zone.folder));
        continue;
      }
      std::int64_t used = *zone.energy_uj - *before;
      if (used < 0) used += zone.wraps_at;
      if (used < 0) {
        reading.problems.push_back(std::format("RAPL {} runs backwards", zone.label));
        continue;
      }
      reading.rails.push_back(
          {zone.label, static_cast<double>(used) / seconds / 1000, kUnitMicrojoule / seconds / 1000});
    }
    at_ = now;
    return reading;
  }

  std::chrono::milliseconds period() const override { return std::chrono::milliseconds(0); }

 private:
  std::optional<std::int64_t> energy(const RaplZone& zone) const {
    const auto value = files_.read_number(zone.folder + "/energy_uj");
    return value && *value >= 0 ? value : std::nullopt;
  }

  SystemFiles files_;
  std::vector<RaplZone> zones_;
  std::vector<std::string> total_;
  std::chrono::nanoseconds at_;
};

}  // namespace

std::unique_ptr<PowerSensor> open_rapl_power(const SystemFiles& files) {
  // Packages are "intel-rapl:0", their parts "intel-rapl:0:1", listed below their package, beside it or both.
  std::map<std::string, std::string> folders;
  for (const std::string& zone : files.list("/sys/class/powercap", "intel-rapl:")) {
    folders.try_emplace(leaf_name(zone), zone);
    for (const std::string& part : files.list(zone, leaf_name(zone) + ":")) folders.try_emplace(leaf_name(part), part);
  }
  const auto name_of_zone = [&files](const std::string& folder) {
    return files.read(folder + "/name").value_or(leaf_name(folder));
  };
  std::vector<RaplZone> zones;
  std::vector<std::string> total;
  bool whole = false;
  for (const auto& [leaf, folder] : folders) {
    const std::string name = name_of_zone(folder);
    const auto package = folders.find(leaf.substr(0, leaf.rfind(':')));
    const std::string label = package == folders.end() ? name : name_of_zone(package->second) + " " + name;
    zones.push_back({label, folder, files.read_number(folder + "/max_energy_range_uj").value_or(0), std::nullopt});
    // Cores and graphics are parts of the package, memory is beside it, psys is all of them and more.
    if (name.starts_with("package-") || name == "dram") total.push_back(label);
    whole = whole || label == "psys";
  }
  if (zones.empty()) return nullptr;
  if (whole) total = {"psys"};
  return std::make_unique<RaplPower>(files, std::move(zones), std::move(total));
}

}  // namespace finch::agent
