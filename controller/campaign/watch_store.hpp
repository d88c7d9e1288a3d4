// The models that are in use on devices, and what the watch found of each (watch.db, SQLite, in the home). Every call
// is one committed transaction. Not thread safe; several processes may have it open.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "controller/error.hpp"
#include "controller/farm/database.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

struct WatchedModel {
  std::int64_t id = 0;
  std::string name;  // for people: the file's, or the bundle's
  std::string device;
  protocol::Measure job;                          // model and deployment
  std::optional<protocol::Measurement> baseline;  // none before the first measurement
  std::int64_t checks = 0;                        // measurements asked for so far; part of their keys
  std::int64_t checked = 0;                       // seconds since 1970, UTC; 0: never
  std::string alarm;                              // name_of(Drift); empty: none
  std::string finding;                            // what the last check said
};

class WatchStore {
 public:
  // Errors: as of Database::open().
  static std::expected<WatchStore, Error> open(const std::filesystem::path& file);

  // One of that name on that device is replaced: its baseline is taken anew.
  std::expected<void, Error> add(const WatchedModel& model);
  // In the order in which they were added.
  std::expected<std::vector<WatchedModel>, Error> all();
  // On one device, or (empty) on all. Error: there is none; exit code `usage`.
  std::expected<void, Error> remove(const std::string& name, const std::string& device);
  // All but name, device and job. One that was removed or replaced meanwhile stays so.
  std::expected<void, Error> save(const WatchedModel& model);

 private:
  explicit WatchStore(Database database) : database_(std::move(database)) {}
  Database database_;
};

}  // namespace finch::controller
