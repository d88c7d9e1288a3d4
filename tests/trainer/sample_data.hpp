// Small data that a network learns in seconds: the class decides where a bright bar lies.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/dataset.hpp"

namespace finch::trainer {

constexpr std::int64_t kSampleSize = 16;
constexpr std::int64_t kSampleClasses = 4;

// uint8 [count, 1, 16, 16] with noise; labels 0..3 in turn.
ImageSplit sample_images(std::int64_t count, std::uint64_t seed);
// 160 training, 40 validation and 40 test images.
Dataset sample_dataset();

std::string idx_bytes(const std::vector<std::uint32_t>& dimensions, const std::vector<std::uint8_t>& bytes);
void write_file(const std::filesystem::path& path, const std::string& bytes);
void write_gzip(const std::filesystem::path& path, const std::string& bytes);
// The four files, 200 training and 40 test images.
void write_sample_idx(const std::filesystem::path& folder, bool compressed = false);

}  // namespace finch::trainer
