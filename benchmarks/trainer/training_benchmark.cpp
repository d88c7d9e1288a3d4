// Finch's training and evaluation against a loop that uses LibTorch's own modules and nothing of Finch: the same
// network, data and threads, in turns, so that a machine that slows down slows both. Finch augments, looks soft targets
// up and distils meanwhile; the plain loop does none of it.
//   build/release/bin/training_benchmark [FASHION_MNIST_FOLDER [THREADS [DEVICE [turns]]]]
// turns: each line of the input, "train" or "evaluate", is a turn of Finch's, whose images/s are printed; for
// pytorch_training.py.
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <format>
#include <functional>
#include <iostream>
#include <numeric>
#include <random>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "trainer/batch_source.hpp"
#include "trainer/compute_device.hpp"
#include "trainer/dataset.hpp"
#include "trainer/distillation_loss.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

namespace nn = torch::nn;

constexpr std::int64_t kBatch = 128;
constexpr int kRounds = 11;

// Resolution 28, width 1.0, ReLU; stages of 1, 2 and 2 blocks; kernel 3, in the second blocks 5; expansion 3.
const search::Genotype kGenotype = {2, 2, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0};

nn::Sequential convolution(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                           std::int64_t groups, bool activation) {
  nn::Sequential layers(
      nn::Conv2d(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).groups(groups).bias(false)),
      nn::BatchNorm2d(out));
  if (activation) layers->push_back(nn::ReLU(nn::ReLUOptions(true)));
  return layers;
}

struct BlockImpl : nn::Module {
  BlockImpl(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride)
      : expand(register_module("expand", convolution(in, 3 * in, 1, 1, 1, true))),
        depthwise(register_module("depthwise", convolution(3 * in, 3 * in, kernel, stride, 3 * in, true))),
        project(register_module("project", convolution(3 * in, out, 1, 1, 1, false))),
        shortcut(stride == 1 && in == out) {}
  torch::Tensor forward(const torch::Tensor& x) {
    const torch::Tensor y = project->forward(depthwise->forward(expand->forward(x)));
    return shortcut ? x + y : y;
  }
  nn::Sequential expand, depthwise, project;
  bool shortcut;
};
TORCH_MODULE(Block);

struct PlainNetwork : nn::Module {
  PlainNetwork() {
    register_module("stem", stem);
    register_module("blocks", blocks);
    register_module("head", head);
    register_module("classifier", classifier);
  }
  // One channel has no memory format: the others get theirs after the stem.
  torch::Tensor forward(const torch::Tensor& images, at::MemoryFormat format) {
    const torch::Tensor features = head->forward(blocks->forward(stem->forward(images).contiguous(format)));
    return classifier->forward(torch::adaptive_avg_pool2d(features, {1, 1}).flatten(1));
  }
  nn::Sequential stem = convolution(1, 16, 3, 2, 1, true);
  nn::Sequential blocks{Block(16, 16, 3, 1), Block(16, 32, 3, 2), Block(32, 32, 5, 1), Block(32, 64, 3, 2),
                        Block(64, 64, 5, 1)};
  nn::Sequential head = convolution(64, 128, 1, 1, 1, true);
  nn::Linear classifier{128, 10};
};

// float32 [N, 1, 28, 28], normalised once.
torch::Tensor plain_images(const ImageSplit& split, const Dataset& dataset) {
  return torch::tensor(at::ArrayRef<std::uint8_t>(split.pixels), torch::kByte)
      .view({split.size(), split.channels, split.height, split.width})
      .to(torch::kFloat)
      .div(255)
      .sub(dataset.mean[0])
      .div(dataset.stddev[0]);
}

std::int64_t parameters(const nn::Module& module) {
  std::int64_t count = 0;
  for (const torch::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

// Of one turn: a second of a processor's, and an epoch of what is faster.
std::int64_t steps_on(torch::Device device) {
  return device.is_cuda() ? 468 : 60;
}

double images_per_second(std::int64_t images, const std::function<void()>& counted) {
  const auto work = [&] {
    counted();
    if (torch::cuda::is_available()) torch::cuda::synchronize();
  };
  const auto begin = std::chrono::steady_clock::now();
  work();
  return static_cast<double>(images) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

struct Contender {
  std::string name;
  std::function<double()> images_per_second;
  std::vector<double> results = {};
};

// All in each round, in random order. The others are what the first is compared with.
void compare(const std::string& what, std::vector<Contender> contenders) {
  std::mt19937 generator(1);
  std::vector<std::size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), 0);
  for (const Contender& contender : contenders) contender.images_per_second();  // warm-up
  for (int round = 0; round < kRounds; ++round) {
    std::ranges::shuffle(order, generator);
    for (const std::size_t i : order) contenders[i].results.push_back(contenders[i].images_per_second());
  }
  for (const Contender& contender : contenders) {
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      const auto at = static_cast<std::size_t>(round);
      ratios.push_back(contenders[0].results[at] / contender.results[at]);
    }
    std::cout << std::format("{:10} {:22} {:6.0f} images/s; the first is {:.3f} of it (quartiles {:.3f} - {:.3f})\n",
                             what, contender.name, quantile(contender.results, 0.5), quantile(ratios, 0.5),
                             quantile(ratios, 0.25), quantile(ratios, 0.75));
  }
}

// What one writes without Finch.
struct PlainLoop {
  PlainLoop(const Dataset& data, at::MemoryFormat memory_format, torch::Device device)
      : format(memory_format),
        images(plain_images(data.train, data).to(device)),
        labels(torch::tensor(data.train.labels, torch::kLong).to(device)),
        test_images(plain_images(data.test, data).to(device)),
        test_labels(torch::tensor(data.test.labels, torch::kLong).to(device)),
        steps(steps_on(device)),
        optimizer(network.parameters(), torch::optim::AdamWOptions(0.01)) {
    network.to(device);
    for (torch::Tensor& parameter : network.parameters()) {
      if (parameter.dim() == 4) parameter.set_data(parameter.detach().contiguous(format));
    }
  }

  double train() {
    network.train();
    const torch::Tensor order = torch::randperm(images.size(0), torch::kLong).to(images.device());
    return images_per_second(steps * kBatch, [&] {
      for (std::int64_t step = 0; step < steps; ++step) {
        const torch::Tensor batch = order.slice(0, step * kBatch, (step + 1) * kBatch);
        const torch::Tensor logits = network.forward(images.index_select(0, batch), format);
        optimizer.zero_grad();
        nn::functional::cross_entropy(logits, labels.index_select(0, batch)).backward();
        optimizer.step();
      }
    });
  }

  double evaluate() {
    network.eval();
    return images_per_second(test_images.size(0), [&] {
      const torch::NoGradGuard no_grad;
      std::int64_t right = 0;
      for (std::int64_t first = 0; first < test_images.size(0); first += 250) {
        const torch::Tensor logits = network.forward(test_images.slice(0, first, first + 250), format);
        right += logits.argmax(1).eq(test_labels.slice(0, first, first + 250)).sum().item<std::int64_t>();
      }
    });
  }

  PlainNetwork network;
  at::MemoryFormat format;
  torch::Tensor images, labels, test_images, test_labels;
  std::int64_t steps;  // of a turn
  torch::optim::AdamW optimizer;
};

void benchmark(const Dataset& dataset, int threads, torch::Device device, bool turns) {
  torch::set_num_threads(threads);
  const std::int64_t steps = steps_on(device);
  at::globalContext().setFlushDenormal(true);
  auto space = *search::make_search_space({.image = {1, 28, 28}, .classes = 10});
  auto network = *space->decode(kGenotype);
  const auto cost = search::cost_of(network);
  NetworkModule module(std::move(network), dataset.mean, dataset.stddev);
  PlainLoop contiguous(dataset, at::MemoryFormat::Contiguous, device),
      channels_last(dataset, at::MemoryFormat::ChannelsLast, device);
  if (parameters(module) != parameters(contiguous.network)) {
    std::cerr << std::format("not the same network: {} and {} parameters\n", parameters(module),
                             parameters(contiguous.network));
    std::exit(1);
  }
  if (!turns)
    std::cout << std::format("{} parameters, {} MACs, batch {}, {} threads, {}, {} rounds\n", cost.parameters,
                             cost.macs, kBatch, threads, device.str(), kRounds);

  const torch::Tensor soft_targets = torch::randn({dataset.train.size(), 2, 10}).to(torch::kHalf);
  const TrainingOptions options{
      .epochs = static_cast<double>(steps * kBatch) / static_cast<double>(dataset.train.size()),
      .batch_size = kBatch,
      .learning_rate = 0.01,
      .loss = {.temperature = 2, .distillation_weight = 0.5},
      .augmentation = {.flip = true, .crop_padding = 2},
      .device = device};
  const auto train = [&] {
    Training training(module, dataset.train, soft_targets, options);
    return images_per_second(training.total_steps() * kBatch, [&] { run(training, [](double) {}).value(); });
  };
  const auto evaluate = [&] {
    module.eval();
    return images_per_second(dataset.test.size(), [&] {
      top1([&](const torch::Tensor& batch) { return module.forward(batch); }, dataset.test);
    });
  };
  if (turns) {
    std::cout << parameters(module) << std::endl;
    for (std::string turn; std::getline(std::cin, turn);)
      std::cout << std::format("{:.1f}", turn == "train" ? train() : evaluate()) << std::endl;
    return;
  }
  compare("training", {{"Finch", train},
                       {"LibTorch, contiguous", [&] { return contiguous.train(); }},
                       {"LibTorch, channels-last", [&] { return channels_last.train(); }}});
  // The same steps on batches that cost more than a copy, made ahead or when they are due.
  const auto augmented = [&](int operations, int loaders) {
    return [&, operations, loaders] {
      const Augmentation augmentation{.flip = true, .crop_padding = 2, .randaugment_operations = operations};
      BatchSource source(dataset.train, kBatch, augmentation, 1, {.loaders = loaders});
      AdamW optimizer(module.parameters(), 0);
      module.train();
      return images_per_second(steps * kBatch, [&] {
        for (std::int64_t step = 0; step < steps; ++step) {
          const Batch batch = source.next().on(device);
          optimizer.zero_grad();
          distillation_loss(module.forward(batch.images), batch.labels, {}, {}).backward();
          optimizer.step(0.01);
        }
      });
    };
  };
  const int loaders = loading_for({.randaugment_operations = 2}, torch::kCPU).loaders;
  compare("loaders", {{std::format("RandAugment, {} loaders", loaders), augmented(2, loaders)},
                      {"RandAugment, none", augmented(2, 0)},
                      {"plain, 1 loader", augmented(0, 1)},
                      {"plain, none", augmented(0, 0)}});
  compare("evaluation", {{"Finch", evaluate},
                         {"LibTorch, contiguous", [&] { return contiguous.evaluate(); }},
                         {"LibTorch, channels-last", [&] { return channels_last.evaluate(); }}});
}

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  const std::string folder = count > 1 ? arguments[1] : "/usr/share/datasets/fashion-mnist";
  const auto dataset = finch::trainer::load_dataset({.format = "idx", .path = folder, .validation_samples = 5000});
  if (!dataset) {
    std::cerr << dataset.error().message << '\n';
    return 2;
  }
  const auto device = finch::trainer::choose_device(count > 3 ? arguments[3] : "cpu");
  if (!device) {
    std::cerr << device.error().message << '\n';
    return 2;
  }
  finch::trainer::benchmark(*dataset, count > 2 ? std::atoi(arguments[2]) : 2, *device,
                            count > 4 && arguments[4] == std::string_view("turns"));
}
