// The campaign's memory: an append-only log of events in campaign.db. Every event is on the disk before it has an
// effect, so that a campaign can be killed at any moment. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "controller/error.hpp"
#include "controller/farm/database.hpp"

namespace finch::controller {

struct Event {
  std::int64_t sequence = 0;
  std::string type;
  double seconds = 0;  // of campaign time, monotone over resumes
  std::string utc;     // ISO 8601
  nlohmann::json data;
};

class EventStore {
 public:
  // Errors: not writable, damaged, written by a newer Finch.
  static std::expected<EventStore, Error> open(const std::filesystem::path& file);
  std::expected<Event, Error> append(const std::string& type, double seconds, nlohmann::json data);
  std::expected<std::vector<Event>, Error> load();

 private:
  explicit EventStore(Database database) : database_(std::move(database)) {}
  Database database_;
};

}  // namespace finch::controller
