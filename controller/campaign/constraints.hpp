// What a campaign's limits say of a network before anything is measured. Pure functions; thread safe.
#pragma once

#include <optional>

#include "controller/campaign/confusion.hpp"
#include "controller/config/campaign_config.hpp"
#include "search/cost_model.hpp"
#include "search/search_space.hpp"

namespace finch::controller {

// Parameters, MACs and peak activation memory; latency is not known yet.
bool keeps(const ConstraintConfig& limits, const search::Cost& cost);
// Sum of the relative excesses over the limits; 0: keeps them.
double excess_over(const ConstraintConfig& limits, const search::Cost& cost);
bool keeps(const ConstraintConfig& limits, const search::SearchSpace& space, const search::Genotype& genotype);

// Sum of the relative shortfalls below the least accuracies; 0: keeps them. A metric that is not known counts as 0.
double shortfall_of(const ConstraintConfig& limits, const Accuracies& accuracies);

struct SpaceExtremes {
  search::Genotype smallest, largest;  // by MACs
};

// The extremes of what keeps the limits: exact where the space's own extremes do, else of a fixed sample of the space.
// None when nothing in the sample keeps them.
std::optional<SpaceExtremes> extremes_within(const ConstraintConfig& limits, const search::SearchSpace& space);

}  // namespace finch::controller
