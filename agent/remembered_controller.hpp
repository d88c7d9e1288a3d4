// Where an agent's controller is and what the agent is called there, kept in its state folder so that it finds back
// after a restart. Values and free functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "agent/error.hpp"

namespace finch::agent {

struct RememberedController {
  std::string host;
  std::uint16_t port = 0;
  std::string name;  // of this device
  std::string profile;
};

// "host:port", "192.168.1.4:7447", "[fe80::1]:7447". Error: says what is wrong with it.
std::expected<std::pair<std::string, std::uint16_t>, Error> parse_endpoint(std::string_view text);
std::string format_endpoint(const std::string& host, std::uint16_t port);

// Nothing when there is none yet. Error: damaged.
std::expected<std::optional<RememberedController>, Error> recall_controller(const std::filesystem::path& state_folder);
// Makes the folder when it is missing.
std::expected<void, Error> remember_controller(const std::filesystem::path& state_folder,
                                               const RememberedController& controller);

// $XDG_STATE_HOME/finch-agent, else ~/.local/state/finch-agent.
std::filesystem::path default_state_folder();

}  // namespace finch::agent
