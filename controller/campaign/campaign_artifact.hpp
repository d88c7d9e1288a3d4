// What another campaign left in the home. A free function; thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controller/error.hpp"

namespace finch::controller {

// The file that the log of the campaign in `folder` names in `field` of the result of its first `event`; empty: it
// names none, or `artifacts`, the home's folder of these, has it no more. Error: a damaged log.
std::expected<std::filesystem::path, Error> artifact_of_campaign(const std::filesystem::path& folder,
                                                                 const std::string& event, const std::string& field,
                                                                 const std::filesystem::path& artifacts);

}  // namespace finch::controller
