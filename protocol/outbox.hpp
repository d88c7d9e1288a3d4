// Results of a worker that the controller has not acknowledged yet, in memory and on disk, so that neither a broken
// connection nor a restart of the worker loses one. Not thread safe; save() is the exception.
#pragma once

#include <expected>
#include <filesystem>
#include <map>
#include <string>

#include "protocol/error.hpp"
#include "protocol/farm.pb.h"

namespace finch::protocol {

class Outbox {
 public:
  // Loads what an earlier process left; what a crash cut off is removed (its job is done again).
  explicit Outbox(std::filesystem::path folder);

  const std::map<std::string, ResultReport>& reports() const { return reports_; }  // by job key
  void put(const ResultReport& report);
  // Forgets the job's result, unless it is of a later lease than `lease`. True: there was one.
  bool remove(const LeaseRef& lease);
  // The job was leased again with a later token: its result counts under that one.
  bool renew(const LeaseRef& lease);

  // What put, remove and renew did to the disk, as a value for another thread: an empty text removes the file.
  struct Change {
    std::filesystem::path file;
    std::string text;
  };
  Change change_of(const std::string& job_key) const;
  // Thread safe. Error: disk full.
  static std::expected<void, Error> save(const Change& change);

 private:
  std::filesystem::path file_of(const std::string& job_key) const;

  std::filesystem::path folder_;
  std::map<std::string, ResultReport> reports_;
};

}  // namespace finch::protocol
