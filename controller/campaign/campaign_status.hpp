// A snapshot of a running campaign, for the terminal view, the log lines and the metrics. A plain value.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace finch::controller {

struct StatusPoint {
  std::uint64_t id = 0;
  double top1 = 0;  // 0..1, validation
  double latency_ms = 0;
  std::int64_t parameters = 0, macs = 0;
};

struct WorkerStatus {
  std::string name;      // "local", "trainer"
  std::string role;      // "agent", "trainer"
  std::string activity;  // "measuring candidate 7 (screen)", "idle", "paused while local measures"
  double progress = 0;   // 0..1
};

struct CampaignStatus {
  std::string campaign;
  std::string run_folder;
  std::string stage;          // "devices", "data", "teacher", "supernet", "search", "finalists", "report"
  std::string stage_detail;   // "candidate 12: training"
  double stage_progress = 0;  // 0..1
  double overall_progress = 0;
  std::chrono::duration<double> elapsed{};
  std::optional<std::chrono::duration<double>> remaining;  // ETA, an estimate
  std::int64_t asked = 0, evaluated = 0, dropped = 0, failed = 0, reused = 0;
  std::optional<std::int64_t> evaluation_budget;
  double waiting_seconds = 0;
  std::vector<StatusPoint> front;  // fastest first
  std::vector<WorkerStatus> workers;
  std::vector<std::string> log;  // newest last, lines not yet shown
};

}  // namespace finch::controller
