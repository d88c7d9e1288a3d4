// What may change when a campaign goes on with other settings, and what it would make incomparable. Pure functions.
#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "controller/config/campaign_config.hpp"

namespace finch::controller {

// "budget.evaluations: 12 -> 20": every setting that differs. Both resolved. Errors: one differs on which what is known
// depends (data, space, teacher, training, what is deployed); names the key and both values; exit code `usage`.
std::expected<std::vector<std::string>, Error> changes_of_extension(const CampaignConfig& before,
                                                                    const CampaignConfig& now);

}  // namespace finch::controller
