#include "agent/evaluate_child.hpp"

#include <algorithm>
#include <cstdint>
#include <format>
#include <fstream>
#include <span>
#include <vector>

#include "agent/launch.pb.h"
#include "protocol/farm.pb.h"

namespace finch::agent {
namespace {

std::expected<void, Error> check(const protocol::ImageSet& set, const std::filesystem::path& path) {
  const std::int64_t pixels = set.channels() * set.height() * set.width();
  if (set.labels().empty() || pixels <= 0 ||
      static_cast<std::int64_t>(set.pixels().size()) != pixels * set.labels_size()) {
    return std::unexpected(
        Error{std::format("test set {}: {} bytes of pixels do not make {} images of {}x{}x{}", path.string(),
                          set.pixels().size(), set.labels_size(), set.channels(), set.height(), set.width())});
  }
  return {};
}

// Images of `channels` planes, as floats in [0, 1] with the channels side by side; one channel keeps the order.
void fill(std::span<const std::uint8_t> pixels, std::int64_t channels, std::int64_t plane, std::span<float> input) {
  const auto image = static_cast<std::size_t>(channels * plane);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::size_t inside = i % image;
    const std::size_t channel = inside / static_cast<std::size_t>(plane), at = inside % static_cast<std::size_t>(plane);
    input[i - inside + at * static_cast<std::size_t>(channels) + channel] = static_cast<float>(pixels[i]) / 255.0F;
  }
}

std::string dimensions(std::span<const std::int64_t> shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

std::expected<protocol::ImageSet, Error> read_images(const std::filesystem::path& path) {
  protocol::ImageSet set;
  std::ifstream file(path, std::ios::binary);
  if (!file || !set.ParseFromIstream(&file)) {
    return std::unexpected(Error{std::format("test set {}: not readable or damaged", path.string())});
  }
  if (auto good = check(set, path); !good) return std::unexpected(good.error());
  return set;
}

// Every image left to right.
void mirror(protocol::ImageSet& set) {
  const auto width = static_cast<std::ptrdiff_t>(set.width());
  std::string& pixels = *set.mutable_pixels();
  for (auto row = pixels.begin(); row != pixels.end(); row += width) std::reverse(row, row + width);
}

// The logits of images first .. first + logits.size() / classes - 1.
using OnLogits = std::function<void(std::int64_t first, std::span<const float> logits, std::size_t classes)>;

// Runs the model over all images, batch by batch.
std::expected<void, Error> run_over(InferenceSession& session, const protocol::ImageSet& set, Batches batches,
                                    const std::function<void(double)>& on_progress, const OnLogits& on_logits) {
  if (session.inputs().size() != 1 || session.inputs()[0].type != ElementType::kFloat32) {
    return std::unexpected(Error{"only a model with one float32 input can be evaluated"});
  }
  const bool free_batch =
      !batches.always_whole && !session.inputs()[0].shape.empty() && session.inputs()[0].shape[0] < 0;
  auto shape = deployed_shape(session.inputs()[0], batches.size);
  if (!shape) return std::unexpected(shape.error());
  const std::vector<std::int64_t> image{set.channels(), set.height(), set.width()};
  const std::vector<std::int64_t> channels_last{set.height(), set.width(), set.channels()};
  const auto takes = [&](const std::vector<std::int64_t>& extents) {
    return shape->size() == 4 && std::equal(extents.begin(), extents.end(), shape->begin() + 1);
  };
  const bool as_stored = takes(image);
  if (!as_stored && !takes(channels_last)) {
    return std::unexpected(
        Error{std::format("the test set's images are {}, the model takes {}", dimensions(image), dimensions(*shape))});
  }
  const std::int64_t samples = set.labels_size();
  const auto pixels = static_cast<std::size_t>(image[0] * image[1] * image[2]);
  const std::int64_t full_batch = (*shape)[0];
  std::vector<float> input(static_cast<std::size_t>(full_batch) * pixels);
  int last_percent = -1;
  for (std::int64_t first = 0; first < samples; first += full_batch) {
    const std::int64_t count = std::min(full_batch, samples - first);
    const auto* from =
        reinterpret_cast<const std::uint8_t*>(set.pixels().data()) + static_cast<std::size_t>(first) * pixels;
    std::ranges::fill(input, 0.0F);
    const std::int64_t interleaved = as_stored ? 1 : set.channels();
    fill(std::span(from, static_cast<std::size_t>(count) * pixels), interleaved,
         static_cast<std::int64_t>(pixels) / interleaved, input);
    if (free_batch) (*shape)[0] = count;
    const auto used = std::span(input).first(static_cast<std::size_t>((*shape)[0]) * pixels);
    if (auto bound = session.bind(0, *shape, std::as_writable_bytes(used)); !bound) {
      return std::unexpected(bound.error());
    }
    if (auto ran = session.run(); !ran) return std::unexpected(ran.error());
    const auto logits = session.output(0);
    if (!logits) return std::unexpected(logits.error());
    if (logits->shape.size() != 2 || logits->shape[0] != (*shape)[0] || logits->shape[1] < 1) {
      return std::unexpected(
          Error{std::format("the model's output is {}; [N, classes] is expected", dimensions(logits->shape))});
    }
    const auto classes = static_cast<std::size_t>(logits->shape[1]);
    on_logits(first, std::span(logits->values).first(static_cast<std::size_t>(count) * classes), classes);
    const int percent = static_cast<int>(100 * (first + count) / samples);
    if (percent != last_percent) on_progress(percent / 100.0);
    last_percent = percent;
  }
  return {};
}

}  // namespace

std::expected<LaunchEvent, Error> evaluate_session(InferenceSession& session, const EvaluateTask& task, Batches batches,
                                                   const std::function<void(double)>& on_progress) {
  const auto set = read_images(task.test_set());
  if (!set) return std::unexpected(set.error());
  LaunchEvent event;
  EvaluateResult& result = *event.mutable_evaluate();
  const auto count_correct = [&](std::int64_t first, std::span<const float> logits, std::size_t classes) {
    for (std::size_t at = 0; at < logits.size(); at += classes) {
      const auto row = logits.subspan(at, classes);
      const auto best = static_cast<std::int32_t>(std::ranges::max_element(row) - row.begin());
      result.add_predictions(best);
      if (first < task.logits_of_first()) result.mutable_logits()->Add(row.begin(), row.end());
      if (best == set->labels(static_cast<int>(first++))) result.set_correct(result.correct() + 1);
    }
  };
  if (auto ran = run_over(session, *set, batches, on_progress, count_correct); !ran)
    return std::unexpected(ran.error());
  result.set_samples(set->labels_size());
  return event;
}

std::expected<LaunchEvent, Error> logits_of_session(InferenceSession& session, const std::filesystem::path& images,
                                                    Batches batches, bool mirrored,
                                                    const std::function<void(double)>& on_progress) {
  auto set = read_images(images);
  if (!set) return std::unexpected(set.error());
  // A model that is made for one batch size is run with it.
  if (!session.inputs().empty() && !session.inputs()[0].shape.empty() && session.inputs()[0].shape[0] > 0)
    batches.size = static_cast<int>(session.inputs()[0].shape[0]);
  LaunchEvent event;
  LogitsResult& result = *event.mutable_logits();
  const auto keep = [&](std::int64_t, std::span<const float> logits, std::size_t classes) {
    result.set_classes(static_cast<std::int64_t>(classes));
    result.mutable_values()->Add(logits.begin(), logits.end());
  };
  const double views = mirrored ? 2 : 1;
  for (int view = 0; view < views; ++view) {
    if (view == 1) mirror(*set);
    const auto progress = [&](double fraction) { on_progress((view + fraction) / views); };
    if (auto ran = run_over(session, *set, batches, progress, keep); !ran) return std::unexpected(ran.error());
  }
  return event;
}

}  // namespace finch::agent
