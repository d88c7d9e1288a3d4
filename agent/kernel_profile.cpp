#include "agent/kernel_profile.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <map>
#include <optional>
#include <ranges>

namespace finch::agent {
namespace {

constexpr std::string_view kKernelTime = "_kernel_time";

// What follows `"key" :` in one event: a string without its quotes, or a number's digits.
std::optional<std::string_view> value_of(std::string_view event, std::string_view key) {
  const std::string quoted = std::format("\"{}\"", key);
  std::size_t at = event.find(quoted);
  if (at == std::string_view::npos) return std::nullopt;
  at = event.find_first_not_of(" :", at + quoted.size());
  if (at == std::string_view::npos) return std::nullopt;
  if (event[at] == '"') return event.substr(at + 1, event.find('"', at + 1) - at - 1);
  return event.substr(at, event.find_first_of(",} ", at) - at);
}

// A folder that goes away with its contents.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "finch-profile-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }  // empty: it could not be made

 private:
  std::filesystem::path path_;
};

}  // namespace

std::expected<ProfileResult, Error> read_kernel_profile(std::string_view json) {
  struct Times {
    std::size_t order;
    std::string operation;
    std::vector<double> microseconds;
  };
  std::map<std::string, Times, std::less<>> nodes;
  for (const auto part : std::views::split(json, '\n')) {
    const std::string_view event(part);
    const auto name = value_of(event, "name");
    if (!name || !name->ends_with(kKernelTime)) continue;
    const auto operation = value_of(event, "op_name"), duration = value_of(event, "dur");
    double microseconds = 0;
    if (!operation || !duration ||
        std::from_chars(duration->data(), duration->data() + duration->size(), microseconds).ec != std::errc()) {
      continue;
    }
    const std::string node(name->substr(0, name->size() - kKernelTime.size()));
    const auto found = nodes.try_emplace(node, nodes.size(), std::string(*operation), std::vector<double>()).first;
    found->second.microseconds.push_back(microseconds);
  }
  if (nodes.empty()) return std::unexpected(Error{"the runtime's profile names no kernels"});
  std::vector<std::pair<std::string, Times>> ordered(nodes.begin(), nodes.end());
  std::ranges::sort(ordered, {}, [](const auto& node) { return node.second.order; });
  ProfileResult result;
  for (auto& [name, times] : ordered) {
    Kernel& kernel = *result.add_kernels();
    kernel.set_node(name);
    kernel.set_operation(times.operation);
    const auto middle = times.microseconds.begin() + std::ssize(times.microseconds) / 2;
    std::ranges::nth_element(times.microseconds, middle);
    kernel.set_median_us(*middle);
  }
  return result;
}

bool is_integer_layer(std::string_view operation) {
  constexpr std::array kIntegerLayers = {"QLinearConv",          "QGemm",         "QLinearMatMul",
                                         "ConvInteger",          "MatMulInteger", "MatMulIntegerToFloat",
                                         "DynamicQuantizeMatMul"};
  return std::ranges::contains(kIntegerLayers, operation);
}

bool is_float_layer(std::string_view operation) {
  constexpr std::array kFloatLayers = {"Conv",      "FusedConv", "NhwcFusedConv", "Gemm",
                                       "FusedGemm", "MatMul",    "FusedMatMul"};
  return std::ranges::contains(kFloatLayers, operation);
}

std::expected<ProfileResult, Error> profile_kernels(const ProfileSettings& settings, const Launcher& launcher,
                                                    std::stop_token stop) {
  const ScratchFolder folder;
  if (folder.path().empty()) return std::unexpected(Error{"cannot make a temporary folder for the runtime's profile"});
  LaunchRequest request;
  request.set_library(settings.library);
  request.set_model(settings.model.string());
  request.set_provider(settings.provider);
  request.set_threads(settings.threads);
  request.set_batch(settings.batch);
  request.set_engine_folder(settings.engine_folder.string());
  request.mutable_profile()->set_folder(folder.path().string());
  request.mutable_profile()->set_runs(settings.runs);
  const auto event = launcher(request, {}, stop);
  if (!event) return std::unexpected(event.error());
  if (!event->has_profile()) return std::unexpected(Error{"the measuring process gave an incomplete result", true});
  return event->profile();
}

std::string kernels_text(const ProfileResult& profile) {
  std::vector<Kernel> kernels(profile.kernels().begin(), profile.kernels().end());
  std::ranges::stable_sort(kernels, std::ranges::greater(), &Kernel::median_us);
  std::string text = "     us  operator                      node\n";
  std::map<std::string, std::pair<int, double>> sums;
  for (const Kernel& kernel : kernels) {
    text += std::format("{:7.0f}  {:28}  {}\n", kernel.median_us(), kernel.operation(), kernel.node());
    auto& [count, sum] = sums[kernel.operation()];
    ++count;
    sum += kernel.median_us();
  }
  text += "\n     us  operator                      nodes\n";
  std::vector<std::pair<std::string, std::pair<int, double>>> by_cost(sums.begin(), sums.end());
  std::ranges::stable_sort(by_cost, std::ranges::greater(), [](const auto& sum) { return sum.second.second; });
  for (const auto& [operation, sum] : by_cost)
    text += std::format("{:7.0f}  {:28}  {}\n", sum.second, operation, sum.first);
  return text;
}

}  // namespace finch::agent
