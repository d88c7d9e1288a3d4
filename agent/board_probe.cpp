#include "agent/board_probe.hpp"

#include <format>
#include <utility>

#include "agent/ina3221.hpp"
#include "agent/jetson_board.hpp"
#include "agent/json_text.hpp"

namespace finch::agent {
namespace {

std::string board_name(const SystemFiles& files) {
  if (const JetsonBoard* jetson = find_jetson_board(files, find_ina3221(files))) return std::string(jetson->name);
  if (std::string model = device_tree_model(files); !model.empty()) return model;
  // Its input and output chip's sensor is on a Raspberry Pi 5 alone, the firmware's node on all of them.
  for (const std::string& hwmon : files.list("/sys/class/hwmon", "hwmon")) {
    if (files.read(hwmon + "/name") == "rp1_adc") return "Raspberry Pi 5";
  }
  if (files.holds("/sys/devices/platform/soc/soc:firmware/get_throttled")) return "Raspberry Pi";
  const std::string vendor = files.read("/sys/class/dmi/id/sys_vendor").value_or("");
  const std::string product = files.read("/sys/class/dmi/id/product_name").value_or("");
  if (vendor.empty() && product.empty()) return "unknown";
  return vendor.empty() || product.empty() ? vendor + product : vendor + " " + product;
}

void probe_power(const SystemFiles& files, const PowerSettings& settings, BoardProbe& probe) {
  bool measured = false;
  for (const auto& sensor : find_power_sensors(files, settings)) {
    PowerReading reading = sensor->read();
    // The first sensor that measures a whole is the one; when it cannot now, none takes its place.
    if (!measured && !sensor->total_rails().empty()) {
      measured = true;
      if (const auto power = total_power_mw(reading, sensor->total_rails())) {
        probe.total = {*power, sensor->total_rails(), sensor->provenance()};
        if (sensor->provenance() == PowerProvenance::kPmicSum) {
          probe.warnings.emplace_back(
              "the total is the sum of the power chip's rails; the board's input has no current sensor and is higher");
        }
      } else {
        probe.warnings.emplace_back("the total power is not known: one of its rails gives no reading");
      }
    }
    for (RailReading& rail : reading.rails) probe.rails.push_back({sensor->provenance(), std::move(rail)});
    for (std::string& problem : reading.problems) probe.warnings.push_back(std::move(problem));
  }
  if (!measured && !probe.rails.empty()) {
    probe.warnings.emplace_back("the total power is not known: nothing says which of the rails are the whole board");
  }
}

std::string rails_json(const BoardProbe& probe) {
  std::string json;
  for (const ProbedRail& rail : probe.rails) {
    json +=
        std::format(R"({}{{"label": {}, "provenance": {}, "power_mw": {}, "resolution_mw": {}}})",
                    json.empty() ? "" : ", ", json_string(rail.reading.label), json_string(name_of(rail.provenance)),
                    number_or_null(rail.reading.power_mw), number_or_null(rail.reading.resolution_mw));
  }
  return json;
}

std::string total_json(const BoardProbe& probe) {
  if (!probe.total) return "null";
  return std::format(R"({{"mw": {}, "rails": {}, "provenance": {}}})", number_or_null(probe.total->power_mw),
                     json_string_list(probe.total->rails), json_string(name_of(probe.total->provenance)));
}

std::string thermal_json(const BoardProbe& probe) {
  std::string json;
  for (const ThermalReading& zone : probe.thermal) {
    json += std::format(R"({}{{"type": {}, "celsius": {}}})", json.empty() ? "" : ", ", json_string(zone.type),
                        number_or_null(zone.celsius));
  }
  return json;
}

std::string integer_or_null(const std::optional<std::int64_t>& value) {
  return value ? std::format("{}", *value) : "null";
}

std::string throttle_json(const BoardProbe& probe) {
  const ThrottleReading& throttle = probe.throttle;
  std::string firmware = "null";
  if (throttle.firmware_flags) {
    firmware = std::format(R"({{"flags": "{:#x}", "live": {}, "since_boot": {}}})", *throttle.firmware_flags,
                           json_string_list(firmware_flag_names(*throttle.firmware_flags)),
                           json_string_list(firmware_flag_names(*throttle.firmware_flags >> 16U)));
  }
  std::string counts;
  for (const auto& [name, count] : throttle.counts) {
    counts += std::format("{}{}: {}", counts.empty() ? "" : ", ", json_string(name), count);
  }
  return std::format(
      R"({{"firmware": {}, "active_alerts": {}, "counts": {{{}}}, "power_mode": {}, "fan_state": {}, "fan_rpm": {}}})",
      firmware, json_string_list(throttle.active_alerts), counts, json_string_or_null(probe.frequencies.power_mode),
      integer_or_null(probe.frequencies.fan_state), integer_or_null(probe.frequencies.fan_rpm));
}

std::string frequencies_json(const BoardProbe& probe) {
  std::string json;
  for (const ClockReading& clock : probe.frequencies.clocks) {
    json +=
        std::format(R"({}{{"name": {}, "governor": {}, "current_hz": {}, "current_is_hardware": {}, "minimum_hz": {}, )"
                    R"("maximum_hz": {}, "load_percent": {}}})",
                    json.empty() ? "" : ", ", json_string(clock.name), json_string_or_null(clock.governor),
                    integer_or_null(clock.current_hz), clock.current_is_hardware, integer_or_null(clock.minimum_hz),
                    integer_or_null(clock.maximum_hz), number_or_null(clock.load_percent));
  }
  return json;
}

std::string megahertz(const std::optional<std::int64_t>& hertz) {
  return hertz ? std::format("{:.0f} MHz", static_cast<double>(*hertz) / 1e6) : "not readable";
}

std::string joined(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + text;
  return list;
}

}  // namespace

BoardProbe probe_board(const SystemFiles& files, const PowerSettings& settings) {
  BoardProbe probe{.board = board_name(files),
                   .rails = {},
                   .total = {},
                   .thermal = open_thermal_zones(files)->read(),
                   .throttle = open_throttle_sources(files)->read(),
                   .frequencies = open_frequency_sources(files)->read(),
                   .warnings = {}};
  probe_power(files, settings, probe);
  for (const ThermalReading& zone : probe.thermal) {
    if (!zone.celsius) probe.warnings.push_back(zone.problem);
  }
  for (const std::string& problem : probe.throttle.problems) probe.warnings.push_back(problem);
  for (const ClockReading& clock : probe.frequencies.clocks) {
    if (!clock.current_hz) probe.warnings.push_back(std::format("clock {} gives no frequency", clock.name));
  }
  return probe;
}

std::string probe_json(const BoardProbe& probe) {
  return std::format(
      R"({{"board": {}, "rails": [{}], "total_power": {}, "thermal": [{}], "throttle": {}, "frequencies": [{}], )"
      R"("warnings": {}}})",
      json_string(probe.board), rails_json(probe), total_json(probe), thermal_json(probe), throttle_json(probe),
      frequencies_json(probe), json_string_list(probe.warnings));
}

std::string probe_text(const BoardProbe& probe) {
  std::string text = std::format("board      {}\n", probe.board);
  for (const ProbedRail& rail : probe.rails) {
    text +=
        std::format("rail       {}: {:.1f} mW{} ({})\n", rail.reading.label, rail.reading.power_mw,
                    rail.reading.resolution_mw ? std::format(" in steps of {:.1f}", *rail.reading.resolution_mw) : "",
                    name_of(rail.provenance));
  }
  text += probe.total ? std::format("power      {:.1f} mW, {} ({})\n", probe.total->power_mw,
                                    joined(probe.total->rails), name_of(probe.total->provenance))
                      : "power      not measured\n";
  for (const ThermalReading& zone : probe.thermal) {
    if (zone.celsius) text += std::format("thermal    {}: {:.1f} °C\n", zone.type, *zone.celsius);
  }
  if (probe.throttle.firmware_flags) {
    const std::string live = joined(firmware_flag_names(*probe.throttle.firmware_flags));
    const std::string past = joined(firmware_flag_names(*probe.throttle.firmware_flags >> 16U));
    text += std::format("throttle   firmware: now {}, since boot {}\n", live.empty() ? "nothing" : live,
                        past.empty() ? "nothing" : past);
  }
  for (const std::string& alert : probe.throttle.active_alerts) text += std::format("throttle   {} active\n", alert);
  for (const auto& [name, count] : probe.throttle.counts) text += std::format("throttle   {}: {}\n", name, count);
  for (const ClockReading& clock : probe.frequencies.clocks) {
    text += std::format("clock      {}: {} of {} to {}, {}\n", clock.name, megahertz(clock.current_hz),
                        megahertz(clock.minimum_hz), megahertz(clock.maximum_hz),
                        clock.governor.empty() ? "no governor" : clock.governor);
  }
  if (!probe.frequencies.power_mode.empty()) {
    text += std::format("mode       {} (nvpmodel)\n", probe.frequencies.power_mode);
  }
  for (const std::string& warning : probe.warnings) text += std::format("warning    {}\n", warning);
  return text;
}

}  // namespace finch::agent
