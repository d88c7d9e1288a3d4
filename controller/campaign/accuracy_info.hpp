// What is shown of an accuracy: its interval, the other metrics, and which models the test images cannot tell apart.
// Pure functions; thread safe.
#pragma once

#include <string>
#include <vector>

#include "controller/campaign/confusion.hpp"
#include "controller/campaign/front.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

// Over the test images. `labels`: theirs; without, or without predictions, there is nothing but top-1.
AccuracyInfo accuracy_info(const protocol::Evaluation& evaluation, const std::vector<std::int32_t>& labels);

// Fills `tied_with` of every model: those whose files of this precision the same test images do not tell apart, by
// McNemar's mid-p test of each pair, adjusted for the number of pairs (Holm), at 5 %.
void mark_ties(std::vector<FrontModel>& models, const std::string& precision);

}  // namespace finch::controller
