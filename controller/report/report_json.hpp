// A CampaignResult as JSON values: the one place where field names of front.json are written. Thread safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "controller/campaign/front.hpp"

namespace finch::controller {

nlohmann::ordered_json measurement_value(const MeasurementInfo& measurement);
nlohmann::ordered_json front_value(const CampaignResult& result);

}  // namespace finch::controller
