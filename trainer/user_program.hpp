// A program of the user's, run to its end, and what it says of the model that it trained. Free functions; not thread
// safe: one program at a time in a process.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

struct UserProgram {
  std::vector<std::string> command;  // found in PATH, or a path relative to `folder`
  std::filesystem::path folder;      // it runs there
  std::filesystem::path log;         // of its stdout and stderr
  double timeout_seconds = 3600;     // of running time: while the process group is stopped the clock stands still
};

// Gives the seconds it ran. The program stays in this process's group, so that what stops, continues or kills the
// group does so to it and to all that it starts; it dies with the calling thread. Whatever it left running is killed.
// `waiting` is called several times a second. Errors: cannot be started, exit status, signal, out of time; with the
// last line of its log.
std::expected<double, Error> run_program(const UserProgram& program,
                                         const std::function<void(double seconds)>& waiting);

struct UserMetrics {
  double top1 = 0;  // 0..1, on images that it was not trained on
  std::int64_t samples = 0;
  struct Pair {
    std::int32_t label = 0, prediction = 0;
    std::int64_t count = 0;
  };
  std::vector<Pair> confusion;  // empty: not said
};

// {"top1": 0.91, "samples": 5000, "confusion": [[label, told, images], ...]}, the last as you like. Errors: not there,
// no JSON, a number that is missing, not finite or out of range; a matrix that says another accuracy.
std::expected<UserMetrics, Error> read_metrics(const std::filesystem::path& file);

}  // namespace finch::trainer
