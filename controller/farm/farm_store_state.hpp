// What the two halves of FarmStore (jobs, devices) share. Internal to controller/farm.
#pragma once

#include <mutex>

#include "controller/farm/database.hpp"
#include "controller/farm/farm_store.hpp"

namespace finch::controller {

struct FarmStore::State {
  std::mutex mutex;
  Database database;

  explicit State(Database opened) : database(std::move(opened)) {}

  template <typename Work>
  auto transact(Work work) {
    const std::scoped_lock lock(mutex);
    return database.transact(std::move(work));
  }
};

}  // namespace finch::controller
