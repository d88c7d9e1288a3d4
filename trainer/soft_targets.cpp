#include "trainer/soft_targets.hpp"

#include "trainer/tensor_file.hpp"

namespace finch::trainer {
namespace {

torch::Tensor as_tensor(const std::string& text) {
  return torch::tensor(std::vector<std::uint8_t>(text.begin(), text.end()), torch::kByte);
}

}  // namespace

torch::Tensor compute_soft_targets(const Classifier& teacher, const ImageSplit& split,
                                   const std::function<void(double fraction)>& progress) {
  const torch::Tensor plain = logits_of(teacher, split, [&](double fraction) { progress(fraction / 2); });
  const torch::Tensor flipped = logits_of([&](const torch::Tensor& images) { return teacher(images.flip(3)); }, split,
                                          [&](double fraction) { progress(0.5 + fraction / 2); });
  return torch::stack({plain, flipped}, 1).to(torch::kHalf);
}

std::string serialize_soft_targets(const torch::Tensor& logits, const Dataset& dataset) {
  return serialize_tensors({{"soft_targets", logits}, {"split", as_tensor(dataset.split_hash)}});
}

std::expected<torch::Tensor, Error> load_soft_targets(const std::filesystem::path& path, const Dataset& dataset) {
  auto tensors = load_tensors(path);
  if (!tensors) return std::unexpected(tensors.error());
  if (!tensors->contains("soft_targets") || !tensors->contains("split")) {
    return std::unexpected(Error{path.string() + ": holds no soft targets"});
  }
  const torch::Tensor logits = tensors->at("soft_targets");
  if (!torch::equal(tensors->at("split"), as_tensor(dataset.split_hash)) ||
      !logits.sizes().equals({dataset.train.size(), 2, std::ssize(dataset.class_names)})) {
    return std::unexpected(Error{
        path.string() + ": these soft targets belong to another data set or split; train the teacher on this one"});
  }
  return logits;
}

}  // namespace finch::trainer
