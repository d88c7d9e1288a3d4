// Distillation from what a teacher computes on its way, not from its answers alone. Pure functions; thread safe.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "search/network.hpp"

namespace finch::trainer {

// Mean square of the difference: FitNets (Romero et al. 2015), equation 3, over all elements instead of their sum.
// Student and teacher float [N, C, H, W], the same C; the larger map is averaged down to the smaller one's size.
torch::Tensor hint_loss(const torch::Tensor& student, const torch::Tensor& teacher);

// Squared distance of the two attention maps, each the mean over the channels of the squared values, normalised to
// length 1; mean over the batch: activation-based transfer of Zagoruyko and Komodakis 2017, equation 2 with p = 2.
// float [N, C, H, W]; channels may differ, the larger map is averaged down.
torch::Tensor attention_loss(const torch::Tensor& student, const torch::Tensor& teacher);

// Relations within the batch: distances of all pairs and, counting twice, angles of all triplets, Huber loss: Park et
// al. 2019, equations 5 to 9. float [N, D]; the D may differ. REQUIRES: N > 1.
torch::Tensor relational_loss(const torch::Tensor& student, const torch::Tensor& teacher);

// The nodes that end a stage: the last with a map of each height and width, from the first convolution on.
std::vector<std::int32_t> stage_ends(const search::Network& network);
// The node whose output the classifier reads.
std::int32_t embedding_node(const search::Network& network);

}  // namespace finch::trainer
