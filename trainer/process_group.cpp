#include "trainer/process_group.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <format>

namespace finch::trainer {
namespace {

// A host that measures stops its training for as long as the measurement takes: the others wait.
constexpr std::chrono::hours kPatience{24};

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::expected<int, Error> number(const char* name, int low, int high) {
  const std::string text = variable(name);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value < low || value > high) {
    return std::unexpected(Error{
        std::format("training together: {} is '{}'; it must be a number from {} to {}. torchrun sets it; without it, "
                    "finch-trainer --processes N does",
                    name, text, low, high)});
  }
  return value;
}

// Which network the processes talk over.
std::shared_ptr<gloo::transport::Device> device_for(const Rendezvous& rendezvous) {
  if (const std::string name = variable("GLOO_SOCKET_IFNAME"); !name.empty())
    return c10d::ProcessGroupGloo::createDeviceForInterface(name);
  if (rendezvous.processes_here == rendezvous.processes || rendezvous.address == "127.0.0.1")
    return c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

std::expected<Rendezvous, Error> rendezvous_from_environment() {
  Rendezvous rendezvous;
  if (variable("WORLD_SIZE").empty()) return rendezvous;
  const auto processes = number("WORLD_SIZE", 1, 1 << 16);
  if (!processes) return std::unexpected(processes.error());
  rendezvous.processes = *processes;
  if (rendezvous.processes == 1) return rendezvous;
  const auto rank = number("RANK", 0, rendezvous.processes - 1);
  if (!rank) return std::unexpected(rank.error());
  const auto port = number("MASTER_PORT", 1, 65535);
  if (!port) return std::unexpected(port.error());
  rendezvous.rank = *rank;
  rendezvous.port = static_cast<std::uint16_t>(*port);
  if (const std::string address = variable("MASTER_ADDR"); !address.empty()) rendezvous.address = address;
  if (!variable("LOCAL_WORLD_SIZE").empty()) {
    const auto here = number("LOCAL_WORLD_SIZE", 1, rendezvous.processes);
    if (!here) return std::unexpected(here.error());
    rendezvous.processes_here = *here;
  }
  if (!variable("LOCAL_RANK").empty()) {
    const auto local_rank = number("LOCAL_RANK", 0, rendezvous.processes_here - 1);
    if (!local_rank) return std::unexpected(local_rank.error());
    rendezvous.local_rank = *local_rank;
  }
  rendezvous.served = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  return rendezvous;
}

std::expected<std::uint16_t, Error> free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool found = fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
                     ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!found) return std::unexpected(Error{std::format("no free port on this machine: {}", std::strerror(error))});
  return ntohs(address.sin_port);
}

struct ProcessGroup::Connection {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  c10::intrusive_ptr<c10d::Backend> for_gradients;  // NCCL, or the same
};

ProcessGroup::ProcessGroup(const Rendezvous& rendezvous, std::unique_ptr<Connection> connection)
    : rendezvous_(rendezvous), connection_(std::move(connection)) {}

ProcessGroup::~ProcessGroup() = default;

std::expected<std::unique_ptr<ProcessGroup>, Error> ProcessGroup::meet(const Rendezvous& rendezvous,
                                                                       [[maybe_unused]] torch::Device device,
                                                                       std::chrono::milliseconds time_limit) {
  try {
    c10d::TCPStoreOptions options;
    options.port = rendezvous.port;
    options.isServer = rendezvous.rank == 0 && !rendezvous.served;
    options.numWorkers = static_cast<std::size_t>(rendezvous.processes);
    options.waitWorkers = false;
    options.timeout = time_limit;
    options.useLibUV = false;
    auto connection = std::make_unique<Connection>();
    // A restart by torchrun meets in the same store.
    connection->store =
        c10::make_intrusive<c10d::PrefixStore>("finch" + variable("TORCHELASTIC_RESTART_COUNT"),
                                               c10::make_intrusive<c10d::TCPStore>(rendezvous.address, options));
    auto gloo = c10d::ProcessGroupGloo::Options::create(kPatience);
    gloo->devices.push_back(device_for(rendezvous));
    connection->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(connection->store, rendezvous.rank,
                                                                   rendezvous.processes, std::move(gloo));
    connection->for_gradients = connection->gloo;
#ifdef USE_C10D_NCCL
    // NCCL wants a GPU for each process, and all must choose alike.
    std::vector<torch::Tensor> ready{torch::tensor(
        std::int64_t{device.is_cuda() && rendezvous.processes_here <= torch::cuda::device_count()}, torch::kLong)};
    c10d::AllreduceOptions least;
    least.reduceOp = c10d::ReduceOp::MIN;
    connection->gloo->allreduce(ready, least)->wait();
    if (ready[0].item<std::int64_t>() != 0) {
      auto nccl = c10d::ProcessGroupNCCL::Options::create();
      nccl->timeout = kPatience;
      connection->for_gradients =
          c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", connection->store),
                                                      rendezvous.rank, rendezvous.processes, std::move(nccl));
    }
#endif
    return std::unique_ptr<ProcessGroup>(new ProcessGroup(rendezvous, std::move(connection)));
  } catch (const std::exception& error) {
    const std::string what = error.what();
    return std::unexpected(Error{std::format(
        "training together: process {} of {} did not meet the others at {}:{} ({}); the address must be that of the "
        "machine of process 0, and the port open there",
        rendezvous.rank, rendezvous.processes, rendezvous.address, rendezvous.port, what.substr(0, what.find('\n')))});
  }
}

ProcessGroup& ProcessGroup::alone() {
  static ProcessGroup one({}, nullptr);
  return one;
}

std::string ProcessGroup::any_error(const std::string& own) {
  if (!connection_) return own;
  std::vector<torch::Tensor> failed{torch::tensor(std::int64_t{!own.empty()}, torch::kLong)};
  connection_->gloo->allreduce(failed)->wait();
  if (!own.empty() || failed[0].item<std::int64_t>() == 0) return own;
  return "another process of this training cannot begin it; its log says why";
}

std::string ProcessGroup::from_leader(std::string bytes) {
  if (!connection_) return bytes;
  const auto broadcast = [&](torch::Tensor tensor) {
    std::vector<torch::Tensor> tensors{std::move(tensor)};
    connection_->gloo->broadcast(tensors)->wait();
  };
  torch::Tensor size = torch::tensor(static_cast<std::int64_t>(bytes.size()), torch::kLong);
  broadcast(size);
  bytes.resize(static_cast<std::size_t>(size.item<std::int64_t>()));
  if (!bytes.empty()) broadcast(torch::from_blob(bytes.data(), {size.item<std::int64_t>()}, torch::kByte));
  return bytes;
}

std::expected<Batch, Error> ProcessGroup::own_part(const Batch& whole) const {
  if (!connection_) return whole;
  if (whole.share < 1) {
    return std::unexpected(Error{
        "several processes cannot train together with mixup or cutmix; leave these out, or train with one process"});
  }
  const std::int64_t rows = whole.labels.size(0), parts = rendezvous_.processes;
  const std::int64_t first = rows * rank() / parts, end = rows * (rank() + 1) / parts;
  const auto part = [&](const torch::Tensor& all) { return all.narrow(0, first, end - first); };
  return Batch{part(whole.images), part(whole.labels), part(whole.indices), part(whole.flipped), whole.share};
}

double ProcessGroup::sum_gradients(const std::vector<torch::Tensor>& parameters, double loss) {
  if (!connection_) return loss;
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients, flat;
  for (const torch::Tensor& parameter : parameters) {
    if (!parameter.grad().defined()) continue;
    gradients.push_back(parameter.grad());
    flat.push_back(parameter.grad().reshape(-1));
  }
  const torch::Device device = gradients.empty() ? torch::Device(torch::kCPU) : gradients[0].device();
  flat.push_back(torch::tensor({loss}, torch::kFloat).to(device));
  const bool through_memory = connection_->for_gradients == connection_->gloo;
  std::vector<torch::Tensor> message{through_memory ? torch::cat(flat).cpu() : torch::cat(flat)};
  connection_->for_gradients->allreduce(message)->wait();
  const torch::Tensor sum = message[0].to(device);
  std::int64_t at = 0;
  for (torch::Tensor& gradient : gradients) {
    gradient.copy_(sum.narrow(0, at, gradient.numel()).view(gradient.sizes()));
    at += gradient.numel();
  }
  return sum[at].item<double>();
}

double share_of(const Batch& part, const Batch& whole) {
  return static_cast<double>(part.labels.size(0)) / static_cast<double>(whole.labels.size(0));
}

}  // namespace finch::trainer
