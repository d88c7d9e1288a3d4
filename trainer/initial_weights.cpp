#include "trainer/initial_weights.hpp"

#include <algorithm>
#include <format>
#include <fstream>
#include <iterator>
#include <map>
#include <ranges>

#include "trainer/onnx_weights.hpp"
#include "trainer/safetensors.hpp"
#include "trainer/torchvision_names.hpp"

namespace finch::trainer {
namespace {

constexpr std::size_t kShownNames = 6;  // in the message of an error

std::string shape_text(torch::IntArrayRef shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text;
}

// Lays the stages of a file beside those of a space.
class Matching {
 public:
  Matching(const NamedTensors& file, const search::SearchSpace& space) : file_(file), shared_(shared_tensors(space)) {}

  std::expected<MatchedWeights, Error> run() {
    TensorShapes shapes;
    for (const auto& [name, tensor] : file_) shapes[name] = tensor.sizes().vec();
    placed_ = place_torchvision_tensors(shapes);
    if (placed_.empty()) {
      for (const auto& [name, tensor] : file_) take(name, own_name(name, tensor));
    } else {
      align_stages();
      for (const PlacedTensor& placed : placed_) take(placed.source, target_of(placed));
      for (const auto& [name, tensor] : file_) {
        if (std::ranges::find(placed_, name, &PlacedTensor::source) == placed_.end()) take(name, "");
      }
    }
    for (const auto& [why, names] : left_out_) matched_.left_out.push_back(why + ": " + joined(names, names.size()));
    if (matched_.loaded > 0) return std::move(matched_);
    std::vector<std::string> names;
    for (const auto& [name, tensor] : file_) names.push_back(name);
    return std::unexpected(Error{std::format(
        "none of its {} tensors fits a network of the space ({}); their names must be Finch's own, or torchvision's of "
        "MobileNetV2, MobileNetV3 or ShuffleNetV2",
        names.size(), joined(names, kShownNames))});
  }

 private:
  static std::string joined(const std::vector<std::string>& names, std::size_t most) {
    std::string text;
    for (const std::string& name : names | std::views::take(most)) text += (text.empty() ? "" : ", ") + name;
    return names.size() > most ? text + ", ..." : text;
  }

  // The shared name of a tensor that Finch wrote: a supernet has a depthwise kernel for each size.
  std::string own_name(const std::string& source, const torch::Tensor& tensor) const {
    // Of what a supernet has for each resolution the last stays.
    const std::string name = source.substr(0, source.find('@'));
    if (shared_.contains(name) || tensor.dim() != 4) return name;
    const std::string sized = std::format("{}{}", name, tensor.size(3));
    return shared_.contains(sized) ? sized : name;
  }

  static bool is_statistic(std::string_view name) {
    return name.ends_with(".running_mean") || name.ends_with(".running_var");
  }
  // Whether networks of the space have a tensor of this name in this size; statistics are as long as their scale.
  bool fits(const std::string& target, torch::IntArrayRef shape) const {
    const auto found = shared_.find(is_statistic(target) ? scale_of(target) : target);
    if (found == shared_.end() || found->second.largest.size() != shape.size()) return false;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] < found->second.smallest[i] || shape[i] > found->second.largest[i]) return false;
    }
    return true;
  }
  static std::string scale_of(const std::string& statistic) {
    return statistic.substr(0, statistic.rfind('.')) + ".scale";
  }

  void take(const std::string& source, const std::string& target) {
    if (source.ends_with(".num_batches_tracked") || source.starts_with("normalize.")) return;
    const torch::Tensor& tensor = file_.at(source);
    const auto known = shared_.find(is_statistic(target) ? scale_of(target) : target);
    if (target.empty() || known == shared_.end()) {
      left_out_["no network of the space has such a tensor in this place"].push_back(source);
    } else if (!fits(target, tensor.sizes())) {
      const bool head = target.starts_with("classifier.");
      left_out_[head ? "the head is a new one" : "the space's are of other sizes"].push_back(std::format(
          "{} ({}, here at most {})", source, shape_text(tensor.sizes()), shape_text(known->second.largest)));
    } else {
      matched_.tensors[target] = tensor.to(torch::kFloat);
      matched_.loaded = std::ssize(matched_.tensors);
    }
  }

  // "" where the space has nothing like it.
  std::string target_of(const PlacedTensor& placed, int stage) const {
    const auto shape = file_.at(placed.source).sizes();
    std::string tensor = placed.layer + "." + placed.tensor;
    const bool depthwise = placed.layer.ends_with("depthwise") && placed.tensor == "weight" && shape.size() == 4;
    if (depthwise) tensor += std::to_string(shape[3]);
    if (placed.block < 0) return tensor;
    // In a space of the user's own a block's type is part of the name.
    for (const char* type : {"", "inverted_residual.", "shuffle."}) {
      std::string name = std::format("stage{}.block{}.{}{}", stage + 1, placed.block, type, tensor);
      if (shared_.contains(is_statistic(name) ? scale_of(name) : name)) return name;
    }
    return "";
  }
  std::string target_of(const PlacedTensor& placed) const {
    if (placed.block < 0) return target_of(placed, -1);
    const int stage = stages_[static_cast<std::size_t>(placed.stage)];
    return stage < 0 ? "" : target_of(placed, stage);
  }

  // The order stays; of all ways the one with the most tensors that fit (as in the longest common subsequence).
  void align_stages() {
    int theirs = 0, ours = 0;
    for (const PlacedTensor& placed : placed_) theirs = std::max(theirs, placed.stage + 1);
    while (std::ranges::any_of(
        shared_, [&](const auto& entry) { return entry.first.starts_with(std::format("stage{}.", ours + 1)); }))
      ++ours;
    const auto rows = static_cast<std::size_t>(theirs), columns = static_cast<std::size_t>(ours);
    std::vector<std::vector<int>> alike(rows, std::vector<int>(columns)), best(rows + 1, std::vector<int>(columns + 1));
    for (const PlacedTensor& placed : placed_) {
      if (placed.block < 0) continue;
      for (int s = 0; s < ours; ++s) {
        const std::string target = target_of(placed, s);
        if (!target.empty() && fits(target, file_.at(placed.source).sizes()))
          ++alike[static_cast<std::size_t>(placed.stage)][static_cast<std::size_t>(s)];
      }
    }
    for (std::size_t i = rows; i-- > 0;) {
      for (std::size_t j = columns; j-- > 0;)
        best[i][j] = std::max({best[i + 1][j], best[i][j + 1], alike[i][j] + best[i + 1][j + 1]});
    }
    stages_.assign(rows, -1);
    for (std::size_t i = 0, j = 0; i < rows && j < columns;) {
      if (best[i][j] == best[i + 1][j]) {
        ++i;
      } else if (best[i][j] == best[i][j + 1]) {
        ++j;
      } else {
        stages_[i++] = static_cast<int>(j++);
      }
    }
  }

  const NamedTensors& file_;
  const std::map<std::string, SharedTensor> shared_;
  std::vector<PlacedTensor> placed_;
  std::vector<int> stages_;  // the space's, by the file's; below 0: none
  std::map<std::string, std::vector<std::string>> left_out_;
  MatchedWeights matched_;
};

bool copy_common(torch::Tensor to, torch::Tensor from) {
  if (to.dim() != from.dim()) return false;
  for (std::int64_t i = 0; i < to.dim(); ++i) {
    const std::int64_t extent = std::min(to.size(i), from.size(i));
    if (i >= 2 && to.size(i) != from.size(i)) return false;  // kernels of different sizes are different
    to = to.narrow(i, 0, extent);
    from = from.narrow(i, 0, extent);
  }
  to.copy_(from);
  return true;
}

}  // namespace

std::expected<NamedTensors, Error> read_any_weights(const std::filesystem::path& path) {
  auto tensors = load_weights(path);
  if (!tensors) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const auto onnx = read_onnx_weights(bytes);
    if (onnx) tensors.emplace();
    for (const auto& [name, weights] : onnx.value_or(std::map<std::string, OnnxWeights>()))
      (*tensors)[name] = torch::tensor(weights.values).view(weights.shape);
  }
  if (!tensors) return std::unexpected(Error{"neither safetensors nor ONNX nor weights of Finch's"});
  std::erase_if(*tensors, [](const auto& entry) { return !entry.second.is_floating_point(); });
  return tensors;
}

std::expected<MatchedWeights, Error> match_weights(const NamedTensors& file, const search::SearchSpace& space) {
  return Matching(file, space).run();
}

std::int64_t begin_with(const NamedTensors& initial, NetworkModule& module) {
  const torch::NoGradGuard no_grad;
  std::int64_t changed = 0;
  for (const search::Node& node : module.network().nodes) {
    for (const char* tensor : {"weight", "bias", "scale", "shift", "running_mean", "running_var"}) {
      const auto own = module.state().find(node.name + "." + tensor);
      const auto begin = initial.find(shared_name(node, tensor));
      if (own != module.state().end() && begin != initial.end()) changed += copy_common(own->second, begin->second);
    }
  }
  return changed;
}

std::int64_t begin_with(const NamedTensors& initial, Supernet& supernet) {
  const torch::NoGradGuard no_grad;
  std::int64_t changed = 0;
  for (const auto& [name, tensor] : supernet.weights()) {
    const auto begin = initial.find(name);
    if (begin != initial.end()) changed += copy_common(tensor, begin->second);
  }
  return changed;
}

std::expected<protocol::JobResult, Error> read_weights(const protocol::ReadWeights& job, const Dataset& dataset,
                                                       const ArtifactPath& input, JobOutput& output) {
  const auto space = search_space(job.space(), dataset);
  if (!space) return std::unexpected(space.error());
  const auto path = input(job.file());
  if (!path) return std::unexpected(path.error());
  const auto matched =
      read_any_weights(*path).and_then([&](const NamedTensors& file) { return match_weights(file, **space); });
  if (!matched) return std::unexpected(Error{std::format("{}: {}", job.origin(), matched.error().message)});
  auto artifact = output.write(serialize_tensors(matched->tensors));
  if (!artifact) return std::unexpected(artifact.error());
  protocol::JobResult result;
  protocol::InitialWeights& weights = *result.mutable_initial_weights();
  *weights.mutable_weights() = std::move(*artifact);
  weights.set_loaded(matched->loaded);
  weights.mutable_left_out()->Add(matched->left_out.begin(), matched->left_out.end());
  return result;
}

}  // namespace finch::trainer
