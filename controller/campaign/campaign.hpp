// Runs a campaign from its event store: stages data, teacher, supernet, search, finalists, report, each resumable. Not
// thread safe; one per run folder (a lock file keeps a second process out).
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "controller/campaign/campaign_status.hpp"
#include "controller/campaign/front.hpp"
#include "controller/config/campaign_config.hpp"
#include "controller/error.hpp"
#include "controller/farm/farm_store.hpp"
#include "controller/farm/home.hpp"

namespace finch::protocol {
class JobResult;
}

namespace finch::controller {

struct JobRequest;

class Campaign {
 public:
  // A new run folder. Errors: exists and is not empty (says to resume), held by another finch, not writable.
  // REQUIRES: resolve(config) was called.
  static std::expected<std::unique_ptr<Campaign>, Error> create(const CampaignConfig& config,
                                                                const std::filesystem::path& run_folder);
  // Goes on with an existing run folder. Errors: none there, damaged, held by another finch.
  static std::expected<std::unique_ptr<Campaign>, Error> open(const std::filesystem::path& run_folder);
  // Goes on with other settings: more or fewer evaluations, other constraints, other devices. What is known is judged
  // anew. Errors: as open(), and a setting changed on which what is known depends (exit code `usage`).
  static std::expected<std::unique_ptr<Campaign>, Error> extend(const CampaignConfig& config,
                                                                const std::filesystem::path& run_folder);
  virtual ~Campaign() = default;

  virtual const CampaignConfig& config() const = 0;
  virtual bool finished() const = 0;
  // Until finished, failed (error), or stop was requested (error with exit code `interrupted`). `show` is called
  // about four times a second. Artifacts are read from the home, jobs go through the store.
  virtual std::expected<void, Error> run(const Home& home, FarmStore& store,
                                         const std::function<void(const CampaignStatus&)>& show,
                                         std::stop_token stop) = 0;
  // What is known so far, finished or not.
  virtual std::expected<CampaignResult, Error> result() = 0;
  // Hashes, tests and measures the front's files again, never from memory. Errors: no front yet, other data, a job that
  // failed.
  using Ask = std::function<std::expected<protocol::JobResult, Error>(const JobRequest&)>;
  virtual std::expected<std::vector<FileCheck>, Error> verify(const Home& home, const Ask& ask) = 0;
};

// Asks the process that runs this folder (or the next resume) to stop searching and to finish with what there is.
std::expected<void, Error> request_finish(const std::filesystem::path& run_folder);

}  // namespace finch::controller
