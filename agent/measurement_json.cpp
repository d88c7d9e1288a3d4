#include "agent/measurement_json.hpp"

#include <cmath>
#include <cstdint>
#include <format>
#include <optional>

#include "agent/json_text.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {
namespace {

// 0 stands for "not known" in the record: no latency and no peak is 0.
std::string known(double value) {
  return value > 0 && std::isfinite(value) ? std::format("{}", value) : "null";
}
std::string known(std::int64_t value) {
  return value > 0 ? std::format("{}", value) : "null";
}

std::string energy(const protocol::Measurement& measurement) {
  if (!measurement.has_energy_gross_mj()) return "null";
  return std::format(R"({{"gross": {}, "net": {}, "provenance": {}}})", measurement.energy_gross_mj(),
                     measurement.has_energy_net_mj() ? std::format("{}", measurement.energy_net_mj()) : "null",
                     json_string(measurement.energy_provenance()));
}

std::string conditions(const protocol::Measurement& m) {
  std::string list;
  for (const protocol::Condition& c : m.conditions()) {
    list += std::format(R"({}{{"name": {}, "latency_ms": {{"median": {}, "p99": {}}}, "slowdown": {}, "remarks": {}}})",
                        list.empty() ? "" : ", ", json_string(c.name()), known(c.latency_median_ms()),
                        known(c.latency_p99_ms()), known(c.slowdown()), json_string_list(c.remarks()));
  }
  return "[" + list + "]";
}

// Of the tier "stability" alone.
std::string stability(const protocol::Measurement& m) {
  if (m.conditions().empty()) return "";
  std::string minutes;
  for (const double median : m.minute_median_ms()) minutes += (minutes.empty() ? "" : ", ") + known(median);
  return std::format(R"(, "conditions": {}, "minute_median_ms": [{}])", conditions(m), minutes);
}

// Where the model was compiled ahead.
std::string engine(const protocol::Measurement& m) {
  return m.engine_build_seconds() > 0 ? std::format(R"(, "engine_build_seconds": {})", m.engine_build_seconds()) : "";
}

std::string milliseconds(double value) {
  return value > 0 ? std::format("{:.4g} ms", value) : "not known";
}
std::string mebibytes(std::int64_t bytes) {
  return bytes > 0 ? std::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)) : "not known";
}

std::string runtime_name(const protocol::Measurement& m) {
  return m.runtime().version().empty() ? m.runtime().name() : m.runtime().name() + " " + m.runtime().version();
}

}  // namespace

std::string measurement_json(const protocol::Measurement& m, const std::string& raw) {
  return std::format(
      R"({{"device": {}, "profile": {}, "runtime": {}, "tier": {}, )"
      R"("deploy": {{"provider": {}, "precision": {}, "threads": {}, "batch": {}}}, "verdict": {}, "reasons": {}, )"
      R"("latency_ms": {{"median": {}, "ci_low": {}, "ci_high": {}, "p90": {}, "p99": {}, "runs": {}}}, )"
      R"("memory_bytes": {{"load_peak": {}, "run_peak": {}}}, "energy_mj": {}, "artifact_sha256": {}, "raw": {}{}{}}})",
      json_string(m.device()), json_string_or_null(m.profile()), json_string(runtime_name(m)), json_string(m.tier()),
      json_string(m.deploy().provider()), json_string_or_null(m.deploy().precision()), m.deploy().threads(),
      m.deploy().batch(), json_string(m.verdict()), json_string_list(m.reasons()), known(m.latency_median_ms()),
      known(m.latency_ci_low_ms()), known(m.latency_ci_high_ms()), known(m.latency_p90_ms()), known(m.latency_p99_ms()),
      m.runs(), known(m.load_peak_bytes()), known(m.run_peak_bytes()), energy(m), json_string(m.artifact_sha256()),
      json_string_or_null(raw), engine(m), stability(m));
}

std::string measurement_text(const protocol::Measurement& m) {
  std::string text =
      std::format("{}  ({} tier, {}, {} thread{}, batch {}, {:.1f} s)\n", m.verdict(), m.tier(), runtime_name(m),
                  m.deploy().threads(), m.deploy().threads() == 1 ? "" : "s", m.deploy().batch(), m.seconds());
  for (const std::string& reason : m.reasons()) text += "  " + reason + "\n";
  if (m.latency_median_ms() == 0) return text;  // there are no figures
  text += std::format("latency  median {}, 95 % interval {} to {}\n         p90 {}, p99 {}, {} runs\n",
                      milliseconds(m.latency_median_ms()), milliseconds(m.latency_ci_low_ms()),
                      milliseconds(m.latency_ci_high_ms()), milliseconds(m.latency_p90_ms()),
                      milliseconds(m.latency_p99_ms()), m.runs());
  text += std::format("         {:.3g} times the reference network\n", m.reference_ratio_median());
  text += std::format("memory   peak {} while loading, {} while running\n", mebibytes(m.load_peak_bytes()),
                      mebibytes(m.run_peak_bytes()));
  if (m.runtime_bytes() > 0) {
    text += std::format("         {} of it is the runtime's, without any model\n", mebibytes(m.runtime_bytes()));
  }
  if (m.has_at_rate()) {
    text += std::format("at rate  {:g} Hz: {} of {} deadlines missed, median {}, p99 {}\n", m.at_rate().rate_hz(),
                        m.at_rate().missed_deadlines(), m.at_rate().frames(),
                        milliseconds(m.at_rate().latency_median_ms()), milliseconds(m.at_rate().latency_p99_ms()));
  }
  for (const protocol::Condition& c : m.conditions()) {
    text += c.slowdown() > 0
                ? std::format("under    {}: median {}, {:.2f} times the quiet one, p99 {}\n", c.name(),
                              milliseconds(c.latency_median_ms()), c.slowdown(), milliseconds(c.latency_p99_ms()))
                : std::format("under    {}: no figures\n", c.name());
    for (const std::string& remark : c.remarks()) text += "         " + remark + "\n";
  }
  if (m.minute_median_ms_size() > 0) {
    text += "minutes ";
    for (const double median : m.minute_median_ms()) text += std::format(" {:.4g}", median);
    text += " ms, medians\n";
  }
  if (m.has_energy_gross_mj()) {
    text += std::format("energy   {:.4g} mJ gross, {:.4g} mJ net of idle, an inference ({})\n", m.energy_gross_mj(),
                        m.energy_net_mj(), m.energy_provenance());
  }
  return text;
}

std::string device_json(const protocol::DeviceDescription& d) {
  std::string runtimes;
  for (const auto& runtime : d.runtimes()) {
    runtimes += std::format(R"({}{{"name": {}, "version": {}, "providers": {}, "engine_builder": {}}})",
                            runtimes.empty() ? "" : ", ", json_string(runtime.name()), json_string(runtime.version()),
                            json_string_list(runtime.providers()), json_string_or_null(runtime.engine_builder()));
  }
  return std::format(
      R"({{"machine": {}, "cpu_model": {}, "cores": {}, "memory_bytes": {}, "operating_system": {}, "kernel": {}, )"
      R"("firmware": {}, "governor": {}, "gpu": {}, "power_mode": {}, "runtimes": [{}], "measures": {}, "cannot_measure": {}, )"
      R"("state_hash": {}}})",
      json_string(d.machine()), json_string(d.cpu_model()), d.cores(), known(d.memory_bytes()),
      json_string(d.operating_system()), json_string(d.kernel()), json_string_or_null(d.firmware()),
      json_string_or_null(d.governor()), json_string_or_null(d.gpu()), json_string_or_null(d.power_mode()), runtimes,
      json_string_list(d.measures()), json_string_list(d.cannot_measure()), json_string(d.state_hash()));
}

std::string device_text(const protocol::DeviceDescription& d) {
  std::string text = std::format("processor  {}, {} cores, {}\n", d.cpu_model(), d.cores(), d.machine());
  text += std::format("memory     {}\n", mebibytes(d.memory_bytes()));
  text += std::format("system     {}, kernel {}\n", d.operating_system(), d.kernel());
  if (!d.firmware().empty()) text += std::format("firmware   {}\n", d.firmware());
  text += std::format("governor   {}\n", d.governor().empty() ? "not readable" : d.governor());
  if (!d.gpu().empty()) text += std::format("gpu        {}\n", d.gpu());
  if (!d.power_mode().empty()) text += std::format("power mode {}\n", d.power_mode());
  for (const auto& runtime : d.runtimes()) {
    std::string providers;
    for (const std::string& provider : runtime.providers()) providers += (providers.empty() ? "" : ", ") + provider;
    text += std::format("runtime    {} {} ({}){}{}\n", runtime.name(), runtime.version(), providers,
                        runtime.engine_builder().empty() ? "" : ", engines by ", runtime.engine_builder());
  }
  for (const std::string& what : d.measures()) text += std::format("measures   {}\n", what);
  for (const std::string& what : d.cannot_measure()) text += std::format("cannot     {}\n", what);
  text += std::format("state      {}\n", d.state_hash());
  return text;
}

}  // namespace finch::agent
