// Runs a compression step by step: trains, exports, tests and measures after each, and undoes what breaks the accuracy
// or does not pay. Every event is on the disk before it has an effect, so that a killed run goes on. Not thread safe;
// one per folder (a lock file keeps a second process out).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "controller/campaign/compression_pipeline.hpp"
#include "controller/campaign/event_store.hpp"
#include "controller/campaign/job_board.hpp"
#include "controller/campaign/run_folder.hpp"
#include "controller/compression/compression_state.hpp"
#include "controller/farm/home.hpp"

namespace finch::controller {

inline constexpr const char* kCompressionDatabase = "compression.db";

class CompressionRun {
 public:
  // How the run reaches the farm.
  struct Farm {
    std::function<std::expected<protocol::JobResult, Error>(const JobRequest&)> ask;
    std::function<std::expected<protocol::DeviceDescription, Error>(const std::string&)> device;
    std::function<void(const std::string&)> say;  // a line for the user
  };

  // Errors: the folder holds a run already (says to resume it), or other files.
  static std::expected<std::unique_ptr<CompressionRun>, Error> create(const CompressionConfig& config,
                                                                      const std::filesystem::path& folder);
  // Errors: none there, damaged, held by another finch.
  static std::expected<std::unique_ptr<CompressionRun>, Error> open(const std::filesystem::path& folder);

  const CompressionState& state() const { return state_; }
  // Until all steps are decided and the outcome is tested; the report is written after each step. Errors: the model or
  // the data cannot be read, the farm's, interrupted. A step that fails is undone, with its reason.
  std::expected<void, Error> run(const Home& home, const Farm& farm);

 private:
  using Step = std::expected<void, Error>;
  CompressionRun(RunFolder folder, EventStore events) : folder_(std::move(folder)), events_(std::move(events)) {}

  Step record(const std::string& type, nlohmann::json data);
  Step meet_device(const Farm& farm);
  Step read_data(const Farm& farm);
  std::expected<PipelineTask, Error> task_of(const Home& home) const;
  Step settle_teacher(const Home& home, const Farm& farm);
  Step test(std::size_t index, const PipelineTask& task, const Farm& farm);
  Step keep_files(std::size_t index, const Home& home);

  protocol::InputShape shape() const;  // REQUIRES: one is given
  protocol::DataSpec data_spec() const;
  protocol::Recipe recipe(double epochs) const;
  protocol::Deploy deploy(const std::string& precision) const;

  RunFolder folder_;
  EventStore events_;
  CompressionState state_;
};

}  // namespace finch::controller
