// Decides who does what next. Pure: a picture of the farm in, actions out; no clock, no I/O. Thread safe.
//
// A host that measures does nothing else: before a measurement starts, every other worker of its host stands still,
// and nothing is leased there until it is over.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace finch::controller {

enum class WorkKind { measure, evaluate, train };  // train: everything that a trainer does

struct WorkerView {
  std::uint64_t id = 0;
  bool agent = false;  // else a trainer
  std::string name;    // of an agent: its device
  std::string host;
  bool busy = false;
  WorkKind work = WorkKind::train;  // of its present job
  bool pause_sent = false;          // stands still, or was told to
  bool paused = false;              // has said that it stands still
};

struct JobView {
  std::string key;
  WorkKind kind = WorkKind::train;
  std::string target;  // device of measure and evaluate; empty: any trainer
};

struct Action {
  enum class Kind { pause, resume, lease } kind = Kind::lease;
  std::uint64_t worker = 0;
  std::string job;  // of a lease
  bool operator==(const Action&) const = default;
};

// `queued` in the order of precedence. Every action is valid on the picture as given, all of them together too.
std::vector<Action> plan(std::span<const WorkerView> workers, std::span<const JobView> queued);

}  // namespace finch::controller
