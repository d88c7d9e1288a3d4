// Whether a model that is in use, or the device that runs it, is no longer what it was. Pure; thread safe.
#pragma once

#include <string>

#include "protocol/farm.pb.h"

namespace finch::controller {

enum class Drift {
  none,
  model,   // it takes another multiple of the reference network
  device,  // the reference network itself takes longer, or less
  epoch,   // the device is in another state: system, kernel, governor, power mode, runtime
  failed,  // the model cannot be measured there any more
};
// "model", "device", ...; "" of none.
const char* name_of(Drift drift);

struct DriftFinding {
  Drift drift = Drift::none;
  std::string text;  // for people; of none: how it is
};

inline constexpr double kDriftTolerance = 0.02;  // what two measurements of a healthy board may differ by

// `now` against `baseline`, both of one model on one device. A model has drifted when its ratio to the reference
// network is more than 2 % outside the baseline's 95 % interval; a device when the reference network is more than 2 %
// off what it took then, or off the device's calibrated baseline where there is one. The epoch is looked at first:
// across states there is nothing to compare. REQUIRES: neither is INVALID.
DriftFinding find_drift(const protocol::Measurement& baseline, const protocol::Measurement& now);

}  // namespace finch::controller
