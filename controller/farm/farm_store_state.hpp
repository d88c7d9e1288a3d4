// What the two halves of FarmStore (jobs, devices) share. Internal to controller/farm; locked by its users.
#pragma once

#include <mutex>

#include "controller/farm/database.hpp"
#include "controller/farm/farm_store.hpp"

namespace finch::controller {

struct FarmStore::State {
  std::mutex mutex;
  Database database;
};

}  // namespace finch::controller
