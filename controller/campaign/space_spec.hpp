// A campaign's space and data set together: as search/ takes it, and as jobs carry it. Pure functions.
#pragma once

#include "controller/config/campaign_config.hpp"
#include "protocol/farm.pb.h"
#include "search/search_space.hpp"

namespace finch::controller {

search::SpaceConfig space_config(const CampaignConfig& config, const protocol::DataFacts& data);

// Holds all that a space of the user's own says, so that results are reused by that and not by its name.
protocol::SpaceSpec space_spec(const CampaignConfig& config, const protocol::DataFacts& data);

}  // namespace finch::controller
