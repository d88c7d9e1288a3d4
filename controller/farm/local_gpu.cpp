#include "controller/farm/local_gpu.hpp"

#include <algorithm>
#include <format>
#include <fstream>
#include <sstream>
#include <thread>

#include "controller/farm/program_output.hpp"

namespace finch::controller {
namespace {

constexpr const char* kNvidia = "0x10de";
// A process with CUDA takes half a gibibyte before it trains; lightweight networks at a batch of 128 take one to six.
// What does not fit after all fails with a reason and is tried again.
constexpr std::int64_t kMemoryOfATraining = std::int64_t{8} << 30;
constexpr int kMostTrainings = 4;
constexpr const char* kDisplayClass = "0x03";  // VGA and 3D controllers of the PCI classes

std::string first_word(const std::filesystem::path& path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

std::string model_of(const std::filesystem::path& root, const std::string& address) {
  std::ifstream information(root / "proc/driver/nvidia/gpus" / address / "information");
  const std::string key = "Model:";
  for (std::string line; std::getline(information, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t begin = line.find_first_not_of(" \t", key.size());
    if (begin != std::string::npos) return line.substr(begin);
  }
  return "NVIDIA GPU at PCI " + address;
}

std::int64_t free_memory() {
  std::int64_t mebibytes = 0;
  std::istringstream(output_of("nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits")) >> mebibytes;
  return mebibytes << 20;
}

}  // namespace

std::optional<LocalGpu> find_local_gpu(const std::filesystem::path& trainer, const std::filesystem::path& root) {
  std::error_code none;
  for (const auto& device : std::filesystem::directory_iterator(root / "sys/bus/pci/devices", none)) {
    if (first_word(device.path() / "vendor") != kNvidia ||
        !first_word(device.path() / "class").starts_with(kDisplayClass))
      continue;
    LocalGpu gpu{.name = model_of(root, device.path().filename().string()),
                 .usable = output_of(std::format("'{}' devices", trainer.string())).contains("cuda")};
    if (gpu.usable) gpu.free_memory = free_memory();
    return gpu;
  }
  return std::nullopt;
}

int LocalGpu::trainings() const {
  const auto room = static_cast<int>(std::min<std::int64_t>(free_memory / kMemoryOfATraining, kMostTrainings));
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, std::min(room, cores));  // one calls the GPU all the time
}

std::string LocalGpu::advice() const {
  if (usable) return std::format("{}: trains, {} network{} at once", name, trainings(), trainings() == 1 ? "" : "s");
  return name +
         ": lies idle, finch-trainer cannot use it; scripts/install-libtorch cuda puts a LibTorch for it in place "
         "(nvidia-smi says whether the driver is there)";
}

}  // namespace finch::controller
