// What the farm has measured already of a space's networks, for predictors to learn from. Not thread safe.
#pragma once

#include <expected>
#include <vector>

#include "controller/campaign/device_predictors.hpp"
#include "controller/error.hpp"
#include "controller/farm/farm_store.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

struct MeasurementHistory {
  std::vector<CostSample> samples;     // of the device as it is now, under this deployment; oldest first
  std::vector<MeasuredDevice> others;  // other devices, and this one in other states or under other deployments
};

// Of networks of this space with random weights, as a search measures them; those that were INVALID do not count.
std::expected<MeasurementHistory, Error> measured_before(FarmStore& store, const protocol::SpaceSpec& space,
                                                         const protocol::DeviceDescription& device,
                                                         const protocol::Deploy& deploy);

}  // namespace finch::controller
