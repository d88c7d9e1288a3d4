// Serves training jobs, one after another, in a process of its own. Not thread safe.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

namespace finch::protocol {
class ChildEvent;
class ChildRequest;
}  // namespace finch::protocol

namespace finch::trainer {

// Inspects data, trains and loads teachers, trains supernets and evaluates their subnets, exports, trains and times
// candidates. The data set of the last job is kept in memory for the next. Kernels use as many threads as the job asks
// for (0: all cores).
class JobServer {
 public:
  using Emit = std::function<void(const protocol::ChildEvent&)>;

  // `checkpoints`: a folder in which long trainings keep where they stand, to go on there after a crash; empty: none.
  explicit JobServer(std::filesystem::path checkpoints = {});
  ~JobServer();

  // Emits progress about twice a second and exactly one result, last; what went wrong is a result too. Never throws.
  // Every new artifact lies in the request's output folder under its SHA-256.
  void serve(const protocol::ChildRequest& request, const Emit& emit);

 private:
  struct LoadedData;
  std::filesystem::path checkpoints_;
  std::unique_ptr<LoadedData> data_;
};

}  // namespace finch::trainer
