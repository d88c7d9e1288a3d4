// A score of an untrained network: synaptic flow (Tanaka 2020; as a proxy of accuracy Abdelfattah 2021), the sum over
// all weights of |w dR/d|w||, R the sum of the outputs for an image of ones with all weights made positive and
// normalisation left out. Here in expectation over random weights (He 2015), which needs no pass through the network:
// within a layer all elements are taken as their mean. Pure function.
#pragma once

#include "search/network.hpp"

namespace finch::search {

// log(1 + score).
double expected_synflow(const Network& network);

}  // namespace finch::search
