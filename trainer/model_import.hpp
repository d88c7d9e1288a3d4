// Models of the user's as Finch's own: from ONNX files, ready to be trained on. Not thread safe.
#pragma once

#include <expected>
#include <memory>
#include <string_view>

#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/network_module.hpp"
#include "trainer/onnx_import.hpp"

namespace finch::trainer {

// The module with the file's weights, in evaluation mode. REQUIRES: `imported` is import_onnx()'s.
std::unique_ptr<NetworkModule> module_of(ImportedNetwork imported);

// Puts BatchNorm behind every convolution that has none, as files have it that were exported for use: with statistics
// of `images` images of the split, and scales and shifts that leave the outputs as they are. Training needs it (Ioffe
// and Szegedy 2015). Gives the module itself when there is nothing to do.
std::unique_ptr<NetworkModule> with_batch_norm(std::unique_ptr<NetworkModule> module, const ImageSplit& split,
                                               std::int64_t images);

}  // namespace finch::trainer
