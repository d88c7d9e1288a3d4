// An artifact's file, copied to where people look for it. Thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controller/error.hpp"

namespace finch::controller {

// Complete under its name or not there at all. Errors: the artifact was removed, not writable.
std::expected<void, Error> copy_artifact(const std::filesystem::path& artifacts, const std::string& sha256,
                                         const std::filesystem::path& to);

}  // namespace finch::controller
