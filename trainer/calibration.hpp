// The ranges of a module's activations on a calibration set. Not thread safe.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/dataset.hpp"
#include "trainer/network_module.hpp"
#include "trainer/range_observer.hpp"

namespace finch::trainer {

struct CalibrationOptions {
  Calibration method = Calibration::mse;
  std::int64_t images = 512;  // at most; drawn from the split
  std::uint64_t seed = 1;
};

// So many images of the split as they are, drawn without replacement: float32 [N, C, H, W] in [0, 1].
torch::Tensor draw_images(const ImageSplit& split, std::int64_t count, std::uint64_t seed);

// By node; the module is put into evaluation mode. `progress` hears shares of 0..1.
std::vector<ActivationRange> calibrate(NetworkModule& module, const ImageSplit& split,
                                       const CalibrationOptions& options,
                                       const std::function<void(double fraction)>& progress = {});

}  // namespace finch::trainer
