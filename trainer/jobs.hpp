// Serves training jobs, one after another, in a process of its own. Not thread safe.
#pragma once

#include <functional>
#include <memory>

namespace finch::protocol {
class ChildEvent;
class ChildRequest;
}  // namespace finch::protocol

namespace finch::trainer {

// Inspects data, trains and loads teachers, exports, trains and times candidates. The data set of the last job is kept
// in memory for the next. Kernels use as many threads as the job asks for (0: all cores).
class JobServer {
 public:
  using Emit = std::function<void(const protocol::ChildEvent&)>;

  JobServer();
  ~JobServer();

  // Emits progress about twice a second and exactly one result, last; what went wrong is a result too. Never throws.
  // Every new artifact lies in the request's output folder under its SHA-256.
  void serve(const protocol::ChildRequest& request, const Emit& emit);

 private:
  struct LoadedData;
  std::unique_ptr<LoadedData> data_;
};

}  // namespace finch::trainer
