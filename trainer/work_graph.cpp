#include "trainer/work_graph.hpp"

// LibTorch's targets say so where it has CUDA.
#if defined(USE_C10D_NCCL) && __has_include(<cuda_runtime_api.h>)
#define FINCH_CAN_RECORD
#endif

#ifdef FINCH_CAN_RECORD
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace finch::trainer {

#ifdef FINCH_CAN_RECORD
namespace {

// Before it can be recorded, work must have run: libraries make their plans and workspaces then.
constexpr int kAsItIs = 3;

void let_wait(const c10::Stream& later, const c10::Stream& earlier) {
  c10::Event event(c10::DeviceType::CUDA);
  event.record(earlier);
  event.block(later);
}

}  // namespace

class WorkGraph::Recorder {
 public:
  // What is recorded must not run on the default stream.
  explicit Recorder(torch::Device device)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  void run(const std::function<void()>& work) {
    const c10::Stream around = c10::cuda::getCurrentCUDAStream(stream_.device_index()).unwrap();
    let_wait(stream_.unwrap(), around);
    {
      const c10::StreamGuard guard(stream_.unwrap());
      if (runs_++ == kAsItIs) record(work);
      if (recorded_) {
        graph_->replay();
      } else {
        work();
      }
    }
    let_wait(around, stream_.unwrap());
  }
  bool recorded() const { return recorded_; }

 private:
  void record(const std::function<void()>& work) {
    stream_.synchronize();
    try {
      // Threads that make batches ahead take pinned memory meanwhile.
      graph_->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      work();
      graph_->capture_end();
      recorded_ = true;
    } catch (const c10::Error&) {
      abandon();
    }
  }
  void abandon() {
    try {
      graph_->capture_end();
    } catch (const c10::Error&) {
      // It says again what went wrong.
    }
    graph_ = std::make_unique<at::cuda::CUDAGraph>();
  }

  c10::cuda::CUDAStream stream_;
  std::unique_ptr<at::cuda::CUDAGraph> graph_ = std::make_unique<at::cuda::CUDAGraph>();
  int runs_ = 0;
  bool recorded_ = false;
};

bool WorkGraph::can_record(torch::Device device) {
  return device.is_cuda();
}
#else
class WorkGraph::Recorder {
 public:
  explicit Recorder(torch::Device) {}
  void run(const std::function<void()>& work) { work(); }
  bool recorded() const { return false; }
};

bool WorkGraph::can_record(torch::Device) {
  return false;
}
#endif

WorkGraph::WorkGraph(torch::Device device) : recorder_(std::make_unique<Recorder>(device)) {}
WorkGraph::~WorkGraph() = default;
void WorkGraph::run(const std::function<void()>& work) {
  recorder_->run(work);
}
bool WorkGraph::played() const {
  return recorder_->recorded();
}

}  // namespace finch::trainer
