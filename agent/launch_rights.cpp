#include "agent/launch_rights.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ranges>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "agent/child_process.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {
namespace {

namespace fs = std::filesystem;

// Libraries, what finds them, and what runtimes ask about the machine. Of /etc no more than that.
constexpr std::array kSystem = {
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/OpenCL",
    "/etc/nv_tegra_release",
    "/proc",
    "/sys",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
};
// NVIDIA's on a workstation, those of a Jetson's processor, and the kernel's common ones.
constexpr std::array kDeviceNames = {"nvidia", "nvhost", "nvmap", "nvgpu", "nvsciipc", "host1x", "dri", "dma_heap"};

std::vector<fs::path> accelerators() {
  std::vector<fs::path> devices;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename();
    if (std::ranges::any_of(kDeviceNames, [&](const char* known) { return name.starts_with(known); }))
      devices.push_back(entry.path());
  }
  return devices;
}

void add_model(const std::string& model, FileRights& rights) {
  if (model.empty()) return;
  rights.read.emplace_back(model);
  for (fs::path& weights : weights_of(model)) rights.read.push_back(std::move(weights));
}

// A length of at most two bytes (a varint) and so many characters; empty: there is none, or a longer one than paths
// are.
std::string_view string_at(std::string_view bytes) {
  constexpr unsigned kMore = 0x80;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(bytes[i])); };
  if (bytes.size() < 2) return {};
  if (byte(0) < kMore) return bytes.substr(1, byte(0));
  return byte(1) < kMore ? bytes.substr(2, byte(0) - kMore + kMore * byte(1)) : std::string_view();
}

// The file's bytes as long as this lives; empty when it cannot be read.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path) {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (file.get() < 0 || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) return;
    const auto size = static_cast<std::size_t>(status.st_size);
    void* bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (bytes != MAP_FAILED) bytes_ = {static_cast<const char*>(bytes), size};
  }
  ~MappedFile() {
    if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return bytes_; }

 private:
  std::string_view bytes_;
};

}  // namespace

std::vector<fs::path> weights_of(const fs::path& model) {
  // A StringStringEntryProto in Protobuf's wire format: field 1 (length-delimited) is the key, field 2 the value.
  constexpr std::string_view kLocation = "\x0a\x08location\x12";
  const MappedFile file(model);
  std::vector<fs::path> weights;
  std::string_view rest = file.bytes();
  for (std::size_t at = rest.find(kLocation); at != std::string_view::npos; at = rest.find(kLocation)) {
    rest.remove_prefix(at + kLocation.size());
    const fs::path name = fs::path(string_at(rest)).lexically_normal();
    if (name.empty() || name.is_absolute() || *name.begin() == "..") continue;
    if (const fs::path found = model.parent_path() / name; !std::ranges::contains(weights, found))
      weights.push_back(found);
  }
  return weights;
}

bool uses_devices(const LaunchRequest& request) {
  return request.provider() == "cuda" || request.provider() == "tensorrt";
}

FileRights rights_of(const LaunchRequest& request, const fs::path& library) {
  FileRights rights;
  rights.read.assign(kSystem.begin(), kSystem.end());
  std::error_code error;
  rights.read.push_back(library.parent_path());
  rights.read.push_back(fs::weakly_canonical(library, error).parent_path());
  if (const char* listed = std::getenv("LD_LIBRARY_PATH")) {
    for (const auto part : std::views::split(std::string_view(listed), ':')) {
      if (!part.empty()) rights.read.emplace_back(std::string_view(part));
    }
  }
  if (!request.root().empty()) rights.read.emplace_back(request.root());
  add_model(request.model(), rights);
  add_model(request.latency().rival(), rights);
  for (const std::string& path : {request.engine_folder(), request.latency().rival_engine_folder(),
                                  request.infer().input(), request.evaluate().test_set(), request.logits().images()}) {
    if (!path.empty()) rights.read.emplace_back(path);
  }

  rights.devices.emplace_back("/dev/null");
  if (uses_devices(request)) {
    for (fs::path& device : accelerators()) rights.devices.push_back(std::move(device));
    // CUDA names its threads by writing to task/N/comm, and gives up where it cannot (error 304).
    rights.write.emplace_back("/proc/self/task");
  }

  if (request.has_infer()) {
    const Descriptor made(open(request.infer().output().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    rights.write.emplace_back(request.infer().output());
  }
  if (request.has_profile()) rights.write.emplace_back(request.profile().folder());
  if (request.has_build_engine()) {
    rights.write.emplace_back(request.engine_folder());
    if (!request.build_engine().timing_folder().empty())
      rights.write.emplace_back(request.build_engine().timing_folder());
  }
  return rights;
}

}  // namespace finch::agent
