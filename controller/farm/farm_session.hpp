// One worker's connection as the farm sees it. Plain state; used on the farm's thread alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "controller/farm/scheduler.hpp"
#include "protocol/farm.pb.h"
#include "protocol/tls_connection.hpp"

namespace finch::controller {

struct HeldJob {
  std::string key;
  std::uint64_t token = 0;
  WorkKind kind = WorkKind::train;
};

struct FarmSession {
  std::uint64_t id = 0;
  std::shared_ptr<protocol::Connection> connection;
  std::string certified_name;  // of its certificate; empty: may only join
  bool welcomed = false;
  WorkerView view;  // as the scheduler sees it
  std::optional<HeldJob> job;
  std::uint64_t pause_sequence = 0;
  protocol::DeviceDescription device;

  void send(const protocol::ToWorker& message) const { connection->send(message); }
};

inline WorkKind kind_of(const protocol::Job& job) {
  if (job.has_measure()) return WorkKind::measure;
  return job.has_evaluate() ? WorkKind::evaluate : WorkKind::train;
}

}  // namespace finch::controller
