// How sure an accuracy is, and whether two models can be told apart by the same images. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "controller/campaign/confusion.hpp"

namespace finch::controller {

struct Interval {
  double low = 0, high = 1;
};

// 95 % score interval of a share (Wilson 1927, JASA 22). REQUIRES: 0 <= right <= samples, samples > 0.
Interval wilson_interval(double right, std::int64_t samples);

// 95 % percentile bootstrap over the images (Efron 1979): 1000 samples of as many images are drawn from those that the
// matrix counts, with a fixed seed. Takes the images as a sample of what the model will see, the classes' shares
// included. Of worst_class_recall it lies low: the least of several noisy shares does. REQUIRES: not empty.
Interval bootstrap_interval(Metric metric, const Confusion& confusion);

// McNemar's test of two models over the same images, two-sided: p that `only_first` images which only the first model
// tells right, and `only_second` that only the second does, differ so much by chance. Exact conditional test ...
double mcnemar_exact_p(std::int64_t only_first, std::int64_t only_second);
// ... and its mid-p version, which keeps 5 % without the exact test's timidity (Fagerland, Lydersen and Laake 2013, BMC
// Medical Research Methodology 13:91).
double mcnemar_mid_p(std::int64_t only_first, std::int64_t only_second);
// mcnemar_mid_p() of image-by-image outcomes. REQUIRES: as many of one as of the other.
double paired_p(const std::vector<bool>& first_right, const std::vector<bool>& second_right);

// p values adjusted for being as many as they are (Holm 1979): below 0.05 with a chance of 5 % in all where nothing
// differs. In their order.
std::vector<double> holm(std::span<const double> p);

}  // namespace finch::controller
