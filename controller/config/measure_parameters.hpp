// The parameters of measuring that a device's profile may change: their names and ranges, and how they are read from
// TOML and written. What each means and why it is what it is: docs/2-measurement.md. Values; thread safe.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace finch::controller {

class TomlTable;

struct MeasureParameterRange {
  const char* name;  // in TOML, and of the field of protocol::MeasureParameters
  double low, high;
  bool whole = false;
  bool list = false;  // ascending
};
const std::vector<MeasureParameterRange>& measure_parameter_ranges();

using MeasureParameterValues = std::map<std::string, std::vector<double>>;  // by name; what is absent is as it is

// For every tier, and for one of them, which comes first.
struct MeasureOverrides {
  MeasureParameterValues all;
  std::map<std::string, MeasureParameterValues> by_tier;

  bool empty() const { return all.empty() && by_tier.empty(); }
  MeasureParameterValues of_tier(const std::string& tier) const;
  bool operator==(const MeasureOverrides&) const = default;
};

// `first` wins, tier by tier and name by name.
MeasureOverrides merged(MeasureOverrides first, const MeasureOverrides& second);

// Of a table with these names and with tables named after the tiers. Ends with the table's done().
MeasureOverrides read_measure_overrides(TomlTable& table);
// As an inline table: "{ half_width = 0.02, certify = { block_seconds = 1.0 } }".
std::string toml_of(const MeasureOverrides& overrides);

}  // namespace finch::controller
