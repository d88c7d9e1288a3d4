// One model as somebody deploys it: the file, what it is, expected outputs, and runners. Free functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "controller/campaign/front.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct BundleImage {
  std::vector<float> pixels;  // [C, H, W] in [0, 1]
  std::int32_t label = 0;
  std::vector<float> logits;  // [classes], as the device gave them
};

struct Bundle {
  const CampaignResult* result = nullptr;
  const FrontModel* model = nullptr;
  const ModelFile* file = nullptr;
  std::vector<std::string> explanation;  // why this one
  std::filesystem::path path;            // of the file
  std::optional<std::filesystem::path> safetensors;
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<BundleImage> images;
};

// model.onnx or model.tflite, labels.txt, card.md, image-N.f32 with expected.json, run.py, for ONNX run.cpp and, where
// there are any, weights.safetensors. Error: the folder is not empty (exit code `usage`), not writable, disk full.
std::expected<void, Error> write_bundle(const Bundle& bundle, const std::filesystem::path& folder);

// The model card, Markdown.
std::string model_card(const Bundle& bundle);

}  // namespace finch::controller
