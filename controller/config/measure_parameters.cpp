#include "controller/config/measure_parameters.hpp"

#include <algorithm>
#include <cstdint>
#include <format>

#include "controller/config/toml_reader.hpp"

namespace finch::controller {
namespace {

constexpr const char* kTiers[] = {"quick", "screen", "certify", "stability"};

MeasureParameterValues read_values(TomlTable& table) {
  MeasureParameterValues values;
  for (const MeasureParameterRange& range : measure_parameter_ranges()) {
    if (!table.has(range.name)) continue;
    std::vector<double> read;
    if (range.list) {
      std::vector<std::int64_t> whole;
      table.read_list(range.name, whole);
      read.assign(whole.begin(), whole.end());
      if (read.empty() || !std::ranges::is_sorted(read) || read.front() < range.low || read.back() > range.high) {
        table.complain(range.name,
                       std::format("give whole numbers from {:g} to {:g}, ascending", range.low, range.high));
        continue;
      }
    } else if (range.whole) {
      auto whole = static_cast<std::int64_t>(range.low);
      table.read(range.name, whole, static_cast<std::int64_t>(range.low), static_cast<std::int64_t>(range.high));
      read.push_back(static_cast<double>(whole));
    } else {
      double value = range.low;
      table.read(range.name, value, range.low, range.high);
      read.push_back(value);
    }
    values[range.name] = std::move(read);
  }
  return values;
}

std::string entries_of(const MeasureParameterValues& values) {
  std::string text;
  for (const MeasureParameterRange& range : measure_parameter_ranges()) {
    const auto found = values.find(range.name);
    if (found == values.end()) continue;
    std::string numbers;
    for (const double value : found->second) {
      std::string number = range.whole ? std::format("{:.0f}", value) : std::format("{}", value);
      if (!range.whole && number.find_first_of(".e") == std::string::npos) number += ".0";
      numbers += (numbers.empty() ? "" : ", ") + number;
    }
    text += std::format("{}{} = {}", text.empty() ? "" : ", ", range.name, range.list ? "[" + numbers + "]" : numbers);
  }
  return text;
}

}  // namespace

const std::vector<MeasureParameterRange>& measure_parameter_ranges() {
  static const std::vector<MeasureParameterRange> ranges = {
      {"launches", 3, 100, true, true},
      {"rounds", 2, 1000, true},
      {"half_width", 1e-4, 0.5},
      {"block_seconds", 0.01, 600},
      {"reference_block_seconds", 0.01, 600},
      {"block_queries", 1, 1'000'000, true},
      {"warm_up_seconds", 0.01, 3600},
      {"warm_up_cap_seconds", 0.01, 3600},
      {"warm_up_runs", 1, 1'000'000, true},
      {"warm_up_agreement", 1e-4, 0.5},
      {"memory_runs", 1, 100'000, true},
      {"second_launches", 0, 100, true},
      {"session_agreement", 1e-4, 0.5},
      {"energy_seconds", 0.1, 3600},
      {"energy_idle_seconds", 0.1, 3600},
      {"energy_coverage", 0.1, 1},
      {"curve_seconds", 1, 86'400},
      {"soak_seconds", 0, 86'400},
      {"walked_memory", 0.01, 0.95},
      {"condition_rounds", 2, 1000, true},
      {"foreign_load", 0, 1},
      {"reference_drift", 1e-4, 1},
      {"temperature_slope_celsius", 0.1, 100},
      {"start_tolerance_celsius", 0, 100},
      {"start_wait_seconds", 0, 3600},
      {"signature_tolerance", 0, 0.1},
      {"memory_limit", 0.01, 1},
      {"processor_seconds", 1, 1e6},
      {"silence_seconds", 1, 1e6},
  };
  return ranges;
}

MeasureParameterValues MeasureOverrides::of_tier(const std::string& tier) const {
  const auto own = by_tier.find(tier);
  MeasureParameterValues values = own == by_tier.end() ? MeasureParameterValues{} : own->second;
  values.insert(all.begin(), all.end());
  return values;
}

MeasureOverrides merged(MeasureOverrides first, const MeasureOverrides& second) {
  // What the first says of all tiers wins over what the second says of one.
  for (const auto& [tier, values] : second.by_tier) {
    for (const auto& [name, value] : values) {
      if (!first.all.contains(name)) first.by_tier[tier].emplace(name, value);
    }
  }
  first.all.insert(second.all.begin(), second.all.end());
  return first;
}

MeasureOverrides read_measure_overrides(TomlTable& table) {
  MeasureOverrides overrides;
  overrides.all = read_values(table);
  for (const char* tier : kTiers) {
    TomlTable own = table.table(tier);
    if (auto values = read_values(own); !values.empty()) overrides.by_tier[tier] = std::move(values);
    own.done();
  }
  table.done();
  return overrides;
}

std::string toml_of(const MeasureOverrides& overrides) {
  std::string text = entries_of(overrides.all);
  for (const auto& [tier, values] : overrides.by_tier)
    text += std::format("{}{} = {{ {} }}", text.empty() ? "" : ", ", tier, entries_of(values));
  return "{ " + text + " }";
}

}  // namespace finch::controller
