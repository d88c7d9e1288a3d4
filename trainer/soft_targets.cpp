#include "trainer/soft_targets.hpp"

#include "trainer/tensor_file.hpp"

namespace finch::trainer {
namespace {

torch::Tensor as_tensor(const std::string& text) {
  return torch::tensor(std::vector<std::uint8_t>(text.begin(), text.end()), torch::kByte);
}

}  // namespace

torch::Tensor compute_soft_targets(const Classifier& teacher, const ImageSplit& split, bool mirrored,
                                   const std::function<void(double fraction)>& progress) {
  const double share = mirrored ? 0.5 : 1;
  std::vector<torch::Tensor> logits = {logits_of(teacher, split, [&](double fraction) { progress(share * fraction); })};
  if (mirrored) {
    logits.push_back(logits_of([&](const torch::Tensor& images) { return teacher(images.flip(3)); }, split,
                               [&](double fraction) { progress(share * (1 + fraction)); }));
  }
  return torch::stack(logits, 1).to(torch::kHalf);
}

std::string serialize_soft_targets(const torch::Tensor& logits, const Dataset& dataset) {
  return serialize_tensors({{"soft_targets", logits}, {"split", as_tensor(dataset.split_hash)}});
}

std::expected<torch::Tensor, Error> load_soft_targets(const std::filesystem::path& path, const Dataset& dataset,
                                                      bool mirrored) {
  auto tensors = load_tensors(path);
  if (!tensors) return std::unexpected(tensors.error());
  if (!tensors->contains("soft_targets") || !tensors->contains("split")) {
    return std::unexpected(Error{path.string() + ": holds no soft targets"});
  }
  const torch::Tensor logits = tensors->at("soft_targets");
  if (!torch::equal(tensors->at("split"), as_tensor(dataset.split_hash)) || logits.dim() != 3 ||
      logits.size(0) != dataset.train.size() || logits.size(2) != std::ssize(dataset.class_names)) {
    return std::unexpected(Error{
        path.string() + ": these soft targets belong to another data set or split; train the teacher on this one"});
  }
  if (logits.size(1) < (mirrored ? 2 : 1)) {
    return std::unexpected(Error{path.string() + ": the teacher has not seen mirrored images; train it with flip"});
  }
  return logits;
}

}  // namespace finch::trainer
