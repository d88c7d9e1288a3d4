// A space of the user's own as its TOML file says it. Pure functions.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controller/error.hpp"
#include "search/custom_space_config.hpp"

namespace finch::controller {

struct SpaceDescription {
  std::string name;
  search::CustomSpaceConfig config;
};

// `file` is where the text came from: its stem is the space's name unless the text says another. Errors name file, line
// and key, and the nearest known key; exit code `usage`.
std::expected<SpaceDescription, Error> parse_space(const std::string& text, const std::filesystem::path& file);

}  // namespace finch::controller
