// The processes that train one network together, each on its part of every batch (data parallelism): LibTorch's c10d
// over Gloo, of gradients on GPUs over NCCL, found through the environment that torchrun sets. One thread of each
// process; all call the same functions in the same order.
#pragma once

#include <torch/torch.h>

#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "trainer/batch_source.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

// RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
struct Rendezvous {
  int rank = 0, processes = 1;
  int local_rank = 0;      // among those of this machine
  int processes_here = 1;  // on this machine (LOCAL_WORLD_SIZE)
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  // torchrun has opened the port itself (TORCHELASTIC_USE_AGENT_STORE): nobody else must.
  bool served = false;
};

// One process alone where WORLD_SIZE is absent or 1. Error: a variable is missing or no number in its range.
std::expected<Rendezvous, Error> rendezvous_from_environment();
// A port of this machine that nobody listens on now.
std::expected<std::uint16_t, Error> free_port();

class ProcessGroup {
 public:
  // This process and no other. What it shares is what it has; thread safe.
  static ProcessGroup& alone();
  // Waits until all are there. `device`: of this process's gradients; NCCL sums them where every process has a GPU of
  // its own and LibTorch has NCCL. Error: they were not in time, or the address is wrong.
  static std::expected<std::unique_ptr<ProcessGroup>, Error> meet(
      const Rendezvous& rendezvous, torch::Device device,
      std::chrono::milliseconds time_limit = std::chrono::minutes(5));
  ~ProcessGroup();

  int rank() const { return rendezvous_.rank; }
  bool leads() const { return rank() == 0; }  // talks to the controller, writes what comes out
  bool several() const { return rendezvous_.processes > 1; }
  const Rendezvous& rendezvous() const { return rendezvous_; }

  // The leader's bytes, at every process; others give what they like. Errors are thrown as c10::Error.
  std::string from_leader(std::string bytes);
  // What went wrong at any process, as far as it is known here; empty: nothing anywhere. All wait for all.
  std::string any_error(const std::string& own);

  // The rows of a batch that this process works on: consecutive parts, as even as they come. REQUIRES: at least one row
  // for each process. Error: the rows of a mixed batch (mixup, cutmix) belong together, also those of two processes.
  std::expected<Batch, Error> own_part(const Batch& whole) const;
  // The gradients in place, and the losses, over all processes, as one message. With losses that are share_of() of a
  // mean over rows, it is the gradient of the mean over the rows of all.
  // REQUIRES: the same parameters have a gradient at every process.
  double sum_gradients(const std::vector<torch::Tensor>& parameters, double loss);

 private:
  struct Connection;
  ProcessGroup(const Rendezvous& rendezvous, std::unique_ptr<Connection> connection);

  Rendezvous rendezvous_;
  std::unique_ptr<Connection> connection_;
};

// Of all rows of a batch, 0..1.
double share_of(const Batch& part, const Batch& whole);

}  // namespace finch::trainer
