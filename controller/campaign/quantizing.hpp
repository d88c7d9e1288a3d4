// Quantization as campaigns and compressions ask for it and speak of it. Pure functions; thread safe.
#pragma once

#include <string>
#include <vector>

#include "controller/config/campaign_config.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

protocol::Quantize quantize_spec(const QuantizeConfig& quantize);

// How the int8 file came to be, where it took more than calibration, and where the runtime does not do as it says.
// `evaluation`: of that file on a device.
std::vector<std::string> quantization_notes(const protocol::QuantizationReport& report,
                                            const protocol::Evaluation& evaluation);

}  // namespace finch::controller
