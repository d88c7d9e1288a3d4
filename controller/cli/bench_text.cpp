#include "controller/cli/bench_text.hpp"

#include <algorithm>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/campaign/campaign_state.hpp"
#include "controller/report/report_json.hpp"

namespace finch::controller {
namespace {

using Json = nlohmann::ordered_json;

std::string milliseconds(double value) {
  return value > 0 ? std::format("{:.4g}", value) : "-";
}

std::string table_line(const BenchLine& line, std::size_t width) {
  const protocol::Measurement& m = line.measurement;
  if (!line.failure.empty())
    return std::format("{:<{}}  {:<12}  {:<11}  failed\n", line.file, width, line.device, line.runtime);
  const std::string interval = m.latency_ci_low_ms() > 0 ? std::format("{} .. {}", milliseconds(m.latency_ci_low_ms()),
                                                                       milliseconds(m.latency_ci_high_ms()))
                                                         : "-";
  const std::string memory =
      m.run_peak_bytes() > 0 ? std::format("{:.1f}", static_cast<double>(m.run_peak_bytes()) / (1 << 20)) : "-";
  const std::string energy =
      m.has_energy_net_mj() ? std::format("{:.4g} ({})", m.energy_net_mj(), m.energy_provenance()) : "-";
  return std::format("{:<{}}  {:<12}  {:<11}  {:>10}  {:<20}  {:>8}  {:>8}  {:>10}  {:<16}  {}\n", line.file, width,
                     line.device, line.runtime, milliseconds(m.latency_median_ms()), interval,
                     milliseconds(m.latency_p90_ms()), milliseconds(m.latency_p99_ms()), memory, energy, m.verdict());
}

std::string rate_text(const protocol::AtRate& rate) {
  return std::format("  at {:g} Hz: {} of {} deadlines missed, median {} ms, p99 {} ms\n", rate.rate_hz(),
                     rate.missed_deadlines(), rate.frames(), milliseconds(rate.latency_median_ms()),
                     milliseconds(rate.latency_p99_ms()));
}

std::string stability_text(const protocol::Measurement& m) {
  std::string text;
  for (const protocol::Condition& c : m.conditions()) {
    text += c.slowdown() > 0
                ? std::format("  under {}: median {} ms, {:.2f} times the quiet one, p99 {} ms\n", c.name(),
                              milliseconds(c.latency_median_ms()), c.slowdown(), milliseconds(c.latency_p99_ms()))
                : std::format("  under {}: no figures\n", c.name());
    for (const std::string& remark : c.remarks()) text += "    " + remark + "\n";
  }
  if (m.minute_median_ms_size() == 0) return text;
  text += "  medians minute by minute, ms:";
  for (const double median : m.minute_median_ms()) text += " " + milliseconds(median);
  return text + "\n";
}

std::string comparison_text(const BenchLine& line) {
  const protocol::Measurement& m = line.measurement;
  if (!m.has_reference_ratio_ci_low()) return std::format("{} and {}: not compared\n", line.file, line.rival);
  const double ratio = m.reference_ratio_median();
  const std::string interval =
      std::format("95 % interval {:.4f} to {:.4f}", m.reference_ratio_ci_low(), m.reference_ratio_ci_high());
  const std::string how = conclusion(m);
  if (how == "no difference shown") {
    return std::format("No difference between {} and {} is shown on {}: {:.4f} times the time ({}), {}\n", line.file,
                       line.rival, line.device, ratio, interval, m.verdict());
  }
  return std::format("{} is {} than {} on {}: {:.4f} times the time ({}), {}\n", line.file, how, line.rival,
                     line.device, ratio, interval, m.verdict());
}

Json comparison_value(const BenchLine& line) {
  const protocol::Measurement& m = line.measurement;
  Json value = {{"a", line.file}, {"b", line.rival}, {"device", line.device}, {"runtime", line.runtime}};
  if (!line.failure.empty()) {
    value["error"] = line.failure;
    return value;
  }
  value["verdict"] = m.verdict();
  value["reasons"] = std::vector<std::string>(m.reasons().begin(), m.reasons().end());
  value["ratio"] = nullptr;
  if (m.has_reference_ratio_ci_low()) {
    value["ratio"] = {{"median", m.reference_ratio_median()},
                      {"ci_low", m.reference_ratio_ci_low()},
                      {"ci_high", m.reference_ratio_ci_high()}};
  }
  value["a_median_ms"] = m.latency_median_ms();
  value["b_median_ms"] = m.reference_median_ms();
  value["conclusion"] = conclusion(m);
  return value;
}

}  // namespace

std::string conclusion(const protocol::Measurement& m) {
  if (!m.has_reference_ratio_ci_low() || m.verdict() == "INVALID") return "no difference shown";
  if (m.reference_ratio_ci_high() < 1) return "faster";
  return m.reference_ratio_ci_low() > 1 ? "slower" : "no difference shown";
}

std::string bench_text(const std::vector<BenchLine>& lines) {
  std::size_t width = 5;
  for (const BenchLine& line : lines) width = std::max(width, line.file.size());
  std::string text = std::format("{:<{}}  {:<12}  {:<11}  {:>10}  {:<20}  {:>8}  {:>8}  {:>10}  {:<16}  {}\n", "model",
                                 width, "device", "runtime", "median ms", "95 % interval", "p90", "p99", "memory MiB",
                                 "energy mJ", "verdict");
  for (const BenchLine& line : lines) {
    text += table_line(line, width);
    for (const std::string& reason : line.measurement.reasons()) text += "  " + reason + "\n";
    if (line.measurement.has_at_rate()) text += rate_text(line.measurement.at_rate());
    text += stability_text(line.measurement);
  }
  for (const BenchLine& line : lines) {
    if (!line.rival.empty() && line.failure.empty()) text += comparison_text(line);
  }
  return text;
}

std::string bench_json(const std::vector<BenchLine>& lines) {
  Json all = {{"measurements", Json::array()}, {"comparisons", Json::array()}};
  for (const BenchLine& line : lines) {
    Json value = {{"file", line.file}};
    if (line.failure.empty()) {
      value.update(measurement_value(measurement_info(line.measurement)));
    } else {
      value["device"] = line.device;
      value["runtime"] = line.runtime;
      value["error"] = line.failure;
    }
    all["measurements"].push_back(std::move(value));
    if (!line.rival.empty()) all["comparisons"].push_back(comparison_value(line));
  }
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace finch::controller
