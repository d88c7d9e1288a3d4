// Work on a GPU that is recorded once and then played: one call instead of one for each of its kernels, which for small
// networks cost more than the kernels do. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>

namespace finch::trainer {

class WorkGraph {
 public:
  // Whether this LibTorch can record what the device does.
  static bool can_record(torch::Device device);
  // REQUIRES: can_record(device).
  explicit WorkGraph(torch::Device device);
  ~WorkGraph();
  WorkGraph(const WorkGraph&) = delete;
  WorkGraph& operator=(const WorkGraph&) = delete;

  // The first times the work is done as it is, later played: it must do the same with the same tensors each time, and
  // wait for nothing. Work that waits is never played, and done as it is each time.
  void run(const std::function<void()>& work);
  bool played() const;  // whether the last run was

 private:
  class Recorder;
  std::unique_ptr<Recorder> recorder_;
};

}  // namespace finch::trainer
