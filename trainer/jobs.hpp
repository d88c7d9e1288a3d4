// Serves training jobs, one after another, in a process of its own. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "trainer/process_group.hpp"

namespace finch::protocol {
class ChildEvent;
class ChildRequest;
class Job;
}  // namespace finch::protocol

namespace finch::trainer {

// Whether the processes of a group share the work of such a job; the leader serves others alone.
bool is_training(const protocol::Job& job);

// Inspects data, trains and loads teachers, trains supernets and evaluates their subnets, exports, trains and times
// candidates. The data set of the last job is kept in memory for the next. Kernels use as many threads as the job asks
// for (0: all cores).
class JobServer {
 public:
  using Emit = std::function<void(const protocol::ChildEvent&)>;

  // `checkpoints`: a folder in which long trainings keep where they stand, to go on there after a crash; empty: none.
  // `group`: of processes that serve every training at the same time; must outlive this. `device`: of all training.
  explicit JobServer(std::filesystem::path checkpoints = {}, ProcessGroup& group = ProcessGroup::alone(),
                     torch::Device device = torch::kCPU);
  ~JobServer();

  // Emits progress about twice a second and exactly one result, last; what went wrong is a result too. Never throws.
  // Every new artifact lies in the request's output folder under its SHA-256.
  void serve(const protocol::ChildRequest& request, const Emit& emit);

  // Another process of the group was lost: no more can be served, start anew.
  bool broken() const { return broken_; }

 private:
  struct LoadedData;
  std::filesystem::path checkpoints_;
  ProcessGroup& group_;
  torch::Device device_;
  std::unique_ptr<LoadedData> data_;
  bool broken_ = false;
};

}  // namespace finch::trainer
