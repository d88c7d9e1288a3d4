#include "agent/inference_backend.hpp"

#include <algorithm>
#include <cstring>
#include <format>
#include <random>
#include <stdfloat>

namespace finch::agent {

std::size_t size_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat64:
    case ElementType::kInt64:
      return 8;
    case ElementType::kFloat32:
    case ElementType::kInt32:
      return 4;
    case ElementType::kFloat16:
      return 2;
    case ElementType::kInt8:
    case ElementType::kUint8:
    case ElementType::kBool:
      return 1;
  }
  return 0;
}

namespace {

template <typename T>
std::vector<float> widened(const void* data, std::size_t count) {
  const T* values = static_cast<const T*>(data);
  std::vector<float> floats(count);
  for (std::size_t i = 0; i < count; ++i) floats[i] = static_cast<float>(values[i]);
  return floats;
}

std::string dimensions(std::span<const std::int64_t> shape) {
  std::string text;
  for (const std::int64_t extent : shape) {
    text += (text.empty() ? "" : ",") + (extent < 0 ? std::string("free") : std::to_string(extent));
  }
  return text;
}

bool fits(std::span<const std::int64_t> given, std::span<const std::int64_t> declared) {
  return std::ranges::equal(given, declared, [](std::int64_t extent, std::int64_t wanted) {
    return extent > 0 && (wanted < 0 || extent == wanted);
  });
}

}  // namespace

std::vector<float> to_floats(ElementType type, const void* data, std::size_t count) {
  switch (type) {
    case ElementType::kFloat64:
      return widened<double>(data, count);
    case ElementType::kInt64:
      return widened<std::int64_t>(data, count);
    case ElementType::kFloat32:
      return widened<float>(data, count);
    case ElementType::kInt32:
      return widened<std::int32_t>(data, count);
    case ElementType::kFloat16:
      return widened<std::float16_t>(data, count);
    case ElementType::kInt8:
      return widened<std::int8_t>(data, count);
    case ElementType::kUint8:
    case ElementType::kBool:
      return widened<std::uint8_t>(data, count);
  }
  return {};
}

std::expected<std::vector<std::int64_t>, Error> deployed_shape(const TensorInfo& input, int batch,
                                                               const InputShapes& shapes) {
  if (const auto given = shapes.find(input.name); given != shapes.end()) {
    if (fits(given->second, input.shape)) return given->second;
    return std::unexpected(Error{std::format("input '{}' is {}; {} does not fit", input.name, dimensions(input.shape),
                                             dimensions(given->second))});
  }
  std::vector<std::int64_t> shape = input.shape;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 0) continue;
    if (i > 0) {
      return std::unexpected(
          Error{std::format("input '{}' leaves dimension {} free ({}); give its shape with --shape {}=..., or export "
                            "the model with every "
                            "size but the batch fixed",
                            input.name, i, dimensions(input.shape), input.name)});
    }
    shape[i] = batch;
  }
  // A model without a batch dimension (a scalar, a vector of settings) runs as it is.
  if (batch > 1 && shape.size() > 1 && shape[0] != batch) {
    return std::unexpected(Error{
        std::format("the model is made for batch {} (input '{}') and batch {} was asked for; deploy it with batch {} "
                    "or export it with a free batch",
                    shape[0], input.name, batch, shape[0])});
  }
  return shape;
}

// Of an input; far beyond what a machine holds, and still countable in bytes.
constexpr std::size_t kMostValues = std::size_t{1} << 48U;

std::expected<std::vector<std::vector<std::byte>>, Error> bind_fixed_inputs(InferenceSession& session, int batch,
                                                                            const InputShapes& shapes) {
  std::vector<std::vector<std::byte>> storage;
  storage.reserve(session.inputs().size());
  std::mt19937 random(20'240'607);
  for (std::size_t i = 0; i < session.inputs().size(); ++i) {
    const TensorInfo& input = session.inputs()[i];
    auto shape = deployed_shape(input, batch, shapes);
    if (!shape) return std::unexpected(shape.error());
    std::size_t count = 1;
    for (const std::int64_t extent : *shape) {
      if (__builtin_mul_overflow(count, static_cast<std::size_t>(extent), &count) || count > kMostValues) {
        return std::unexpected(Error{std::format("input '{}' is too large for any memory", input.name)});
      }
    }
    auto& bytes = storage.emplace_back(count * size_of(input.type));
    for (std::size_t j = 0; j < count; ++j) {
      // 24 bits of the generator: the same value with every standard library.
      const float value = static_cast<float>(random() >> 8U) * 0x1p-24F;
      if (input.type == ElementType::kFloat32) {
        std::memcpy(&bytes[j * sizeof value], &value, sizeof value);
      } else if (input.type == ElementType::kFloat64) {
        const double wide = value;
        std::memcpy(&bytes[j * sizeof wide], &wide, sizeof wide);
      }
    }
    if (auto bound = session.bind(i, *shape, bytes); !bound) return std::unexpected(bound.error());
  }
  return storage;
}

}  // namespace finch::agent
