#include "trainer/supernet_training.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/learning_rate.hpp"

namespace finch::trainer {
namespace {

constexpr const char* kStep = "training.step";
constexpr const char* kImages = "training.images";
constexpr const char* kSeconds = "training.seconds";
constexpr const char* kBatches = "training.next_batch";
constexpr const char* kSampler = "training.sampler";

torch::Tensor text_tensor(const std::string& text) {
  return torch::tensor(std::vector<std::uint8_t>(text.begin(), text.end()), torch::kByte);
}

std::string tensor_text(const torch::Tensor& tensor) {
  return {tensor.data_ptr<std::uint8_t>(), tensor.data_ptr<std::uint8_t>() + tensor.numel()};
}

std::vector<torch::Tensor> values(const NamedTensors& tensors) {
  std::vector<torch::Tensor> all;
  for (const auto& [name, tensor] : tensors) all.push_back(tensor);
  return all;
}

}  // namespace

SupernetTraining::SupernetTraining(Supernet& supernet, const search::SearchSpace& space, const ImageSplit& split,
                                   torch::Tensor soft_targets, const SupernetOptions& options, ProcessGroup& group)
    : supernet_(supernet),
      space_(space),
      soft_targets_(std::move(soft_targets)),
      options_(options),
      group_(group),
      total_steps_(steps_of(options.training, split)),
      split_step_(std::llround(options.split_after * static_cast<double>(total_steps_))),
      sampler_(space, options.limits, options.training.seed),
      batches_(split, options.training.batch_size, options.training.augmentation, options.training.seed,
               loading_for(options.training.augmentation, options.training.device)),
      parameters_(values(supernet.weights())),
      optimizer_(parameters_, options.training.weight_decay) {
  supernet_.move_to(options.training.device);
}

// What was learnt about a tensor holds for its parts.
void SupernetTraining::split() {
  NamedTensors moments = optimizer_.state(supernet_.weights());
  for (const auto& [part, whole] : supernet_.split_by_resolution(space_)) {
    for (const char* of : {".first_moment", ".second_moment", ".steps"}) {
      if (const auto found = moments.find(whole + of); found != moments.end()) moments[part + of] = found->second;
    }
  }
  parameters_ = values(supernet_.weights());
  optimizer_ = AdamW(parameters_, options_.training.weight_decay);
  optimizer_.restore(supernet_.weights(), moments);
}

std::expected<void, Error> SupernetTraining::make_step() {
  if (step_ == split_step_) split();
  const LossOptions& loss = options_.training.loss;
  auto networks = sampler_.next(options_.sampling, options_.subnets);
  if (!networks) return std::unexpected(networks.error());
  const Batch whole = batches_.next();
  const auto own = group_.own_part(whole);
  if (!own) return std::unexpected(own.error());
  const torch::Device device = options_.training.device;
  const Batch batch = own->on(device);
  torch::Tensor teacher, large;  // logits
  if (soft_targets_.defined()) {
    teacher = soft_targets_.index({batch.indices, batch.flipped}).to(device, torch::kFloat);
  }
  optimizer_.zero_grad();  // to nothing: what no network of this step has is left alone
  double all_losses = 0;
  for (search::Network& network : *networks) {
    const auto subnet = supernet_.subnet(std::move(network));
    if (!subnet) return std::unexpected(subnet.error());
    const torch::Tensor logits = subnet->module->forward(batch.images);
    torch::Tensor sum = distillation_loss(logits, batch.labels, teacher, loss, {.share = batch.share});
    if (!large.defined()) {
      large = logits.detach();
    } else if (options_.in_place_weight > 0) {
      const torch::Tensor in_place =
          distillation_loss(logits, batch.labels, large, {.temperature = 1, .distillation_weight = 1},
                            {.share = batch.share, .teacher_saw_it = true});
      sum = (1 - options_.in_place_weight) * sum + options_.in_place_weight * in_place;
    }
    sum = share_of(batch, whole) * sum;
    sum.backward();
    all_losses += sum.item<double>();
    supernet_.add_gradients(*subnet);
    images_ += logits.size(0);
  }
  all_losses = group_.sum_gradients(parameters_, all_losses);
  if (auto finite = check_finite(all_losses, step_, total_steps_); !finite) return finite;
  optimizer_.step(learning_rate_at(options_.training.learning_rate, step_, total_steps_));
  ++step_;
  return {};
}

std::string SupernetTraining::checkpoint() {
  NamedTensors all = optimizer_.state(supernet_.weights());
  all.insert(supernet_.weights().begin(), supernet_.weights().end());
  all[kStep] = torch::tensor(step_, torch::kLong);
  all[kImages] = torch::tensor(images_, torch::kLong);
  all[kSeconds] = torch::tensor(seconds(), torch::kDouble);
  all[kBatches] = text_tensor(batches_.position());
  all[kSampler] = text_tensor(sampler_.position());
  return serialize_tensors(all);
}

std::expected<void, Error> SupernetTraining::restore(const std::filesystem::path& checkpoint) {
  const auto all = load_tensors(checkpoint);
  if (!all) return std::unexpected(all.error());
  const bool is_split = all->contains(kStep) && all->at(kStep).item<std::int64_t>() > split_step_;
  Supernet as_then = supernet_;
  if (is_split) as_then.split_by_resolution(space_);
  const auto fits = [&](const auto& weight) {
    const auto found = all->find(weight.first);
    return found != all->end() && found->second.sizes() == weight.second.sizes();
  };
  const auto known = [&](const char* name) { return all->contains(name); };
  if (!std::ranges::all_of(std::array{kStep, kImages, kSeconds, kBatches, kSampler}, known) ||
      !std::ranges::all_of(as_then.weights(), fits)) {
    return std::unexpected(Error{checkpoint.string() + ": not the checkpoint of this supernet"});
  }
  if (is_split) split();
  const torch::NoGradGuard no_grad;
  for (auto& [name, weight] : supernet_.weights()) torch::Tensor(weight).copy_(all->at(name));
  optimizer_.restore(supernet_.weights(), *all);
  batches_.restore(tensor_text(all->at(kBatches)));
  sampler_.restore(tensor_text(all->at(kSampler)));
  step_ = all->at(kStep).item<std::int64_t>();
  images_ = all->at(kImages).item<std::int64_t>();
  seconds_before_ = all->at(kSeconds).item<double>();
  clock_.restart();
  return {};
}

}  // namespace finch::trainer
