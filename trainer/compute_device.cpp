#include "trainer/compute_device.hpp"

#include <charconv>
#include <format>

namespace finch::trainer {
namespace {

constexpr std::string_view kGpu = "cuda";

std::expected<torch::Device, Error> gpu(std::string_view name, int local_rank) {
  const auto count = static_cast<int>(torch::cuda::device_count());
  if (!torch::cuda::is_available() || count == 0) {
    return std::unexpected(Error{std::format(
        "--device {}: {}", name,
        at::globalContext().hasCUDART() ? "no NVIDIA GPU can be used; nvidia-smi shows GPUs and driver"
                                        : "this finch-trainer is built with a LibTorch for the processor alone; "
                                          "scripts/install-libtorch cuda puts one for NVIDIA GPUs in place")});
  }
  int index = local_rank % count;
  if (name != kGpu) {
    const std::string_view digits = name.substr(kGpu.size() + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc{} || end != digits.data() + digits.size() || index < 0 || index >= count) {
      return std::unexpected(
          Error{std::format("--device {}: this machine's GPUs are cuda:0 to cuda:{}", name, count - 1)});
    }
  }
  return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(index));
}

}  // namespace

std::expected<torch::Device, Error> choose_device(std::string_view name, int local_rank) {
  if (name == "auto") name = torch::cuda::is_available() ? kGpu : "cpu";
  if (name == "cpu") return torch::kCPU;
  if (name == kGpu || name.starts_with("cuda:")) return gpu(name, local_rank);
  return std::unexpected(Error{std::format("--device {}: give auto, cpu, cuda or cuda:N", name)});
}

std::vector<torch::Device> usable_devices() {
  std::vector<torch::Device> devices = {torch::kCPU};
  const int gpus = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  for (int i = 0; i < gpus; ++i) devices.emplace_back(torch::kCUDA, static_cast<c10::DeviceIndex>(i));
  return devices;
}

}  // namespace finch::trainer
