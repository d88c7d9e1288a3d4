// The engine behind Campaign: looks at the state, asks for the jobs that are due, records what comes back. Every step
// is safe to repeat, so that a resume simply goes on. Not thread safe.
#pragma once

#include <chrono>
#include <set>

#include "controller/campaign/accuracy_statistics.hpp"
#include "controller/campaign/campaign.hpp"
#include "controller/campaign/campaign_state.hpp"
#include "controller/campaign/compression_pipeline.hpp"
#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/job_board.hpp"
#include "controller/campaign/run_folder.hpp"

namespace finch::controller {

class CampaignRun : public Campaign {
 public:
  CampaignRun(RunFolder folder, EventStore store) : folder_(std::move(folder)), events_(std::move(store)) {}
  std::expected<void, Error> begin(const CampaignConfig& config);
  std::expected<void, Error> replay();
  std::expected<void, Error> extend(const CampaignConfig& config);

  const CampaignConfig& config() const override { return state_.config; }
  bool finished() const override { return !state_.status.empty(); }
  std::expected<void, Error> run(const Home& home, FarmStore& store,
                                 const std::function<void(const CampaignStatus&)>& show, std::stop_token stop) override;
  std::expected<CampaignResult, Error> result() override;
  std::expected<std::vector<FileCheck>, Error> verify(const Home& home, const Ask& ask) override;

  using Step = std::expected<void, Error>;
  // All that can be done now, without waiting: takes in what the farm has finished and asks for what is due next.
  // REQUIRES: not finished.
  Step step(const Home& home, FarmStore& store);
  // Sequence number of the last event.
  std::int64_t recorded() const { return recorded_; }

 private:
  // Writes the event and takes it in; every change of state_ goes through here.
  Step record(const std::string& type, nlohmann::json data);
  double now() const;
  void say(std::string line) { log_.push_back(std::move(line)); }
  Step note(const std::string& text);  // once, however often it comes up

  // Stages: each does what can be done now and returns.
  Step find_devices(FarmStore& store);
  Step meet_device(const DeviceConfig& wanted, const protocol::DeviceDescription& device);
  bool devices_are_there() const;  // one board of each, and pools are calibrated
  Step settle_pool(const DeviceConfig& device);
  std::expected<std::optional<double>, Error> calibrate(const DeviceConfig& device,
                                                        const protocol::DeviceDescription& board);
  using BoardRequest = std::function<JobRequest(const protocol::DeviceDescription& board)>;
  // The result of the request on that one of the boards which has it or has least to do. Nothing: not there yet.
  std::expected<std::optional<JobOutcome>, Error> ask_device(const DeviceConfig& device, const BoardRequest& request_on,
                                                             const std::vector<std::string>& boards);
  Step check_device(const DeviceConfig& wanted, const protocol::DeviceDescription& device) const;
  Step read_data();
  Step settle_teacher(const Home& home);
  struct KnownTeacher {
    protocol::ArtifactRef file;
    bool onnx = false;
  };
  // That [teacher] names, as artifacts.
  std::expected<const std::vector<KnownTeacher>*, Error> known_teachers(const Home& home);
  // Of an ONNX file over the training and validation images; nothing: they are being computed.
  std::expected<std::optional<protocol::ArtifactRef>, Error> answers_of(const protocol::ArtifactRef& model);
  // As the student needs it: its answers, or itself.
  void add_teacher(protocol::TrainCandidate& job) const;
  Step read_initial_weights(const Home& home);
  Step train_supernet();

  Step search_stage(FarmStore& store);
  Step learn_history(FarmStore& store);
  Step ask_if_free();
  Step advance_candidate(CandidateState& candidate);
  Step screen(CandidateState& candidate, const DeviceConfig& device);
  JobRequest export_of(const CandidateState& candidate, const std::string& runtime) const;
  Step estimate(const CandidateState& candidate, const DeviceConfig& device);  // where it can be relied on
  bool may_be_on_front(const CandidateState& candidate) const;
  double epochs_until(std::size_t rung) const;  // of a candidate's training, from its beginning
  Step train(CandidateState& candidate);
  JobRequest training_of(const CandidateState& candidate) const;
  JobRequest evaluation_of(const CandidateState& candidate) const;  // with the supernet's weights
  Step tell(const CandidateState& candidate, std::vector<double> objectives, double violation,
            const std::string& outcome);
  Step fail(const CandidateState& candidate, const std::string& why);
  bool hopeless() const;  // nothing but failures so far
  bool budget_left() const;
  double finalist_reserve() const;  // seconds, an estimate from what was measured so far
  double estimate_finalists() const;
  Step close_search();

  Step finalist_stage(const Home& home);
  Step advance_finalist(FinalistState& finalist, const Home& home);
  Step evaluate_seed(FinalistState& finalist, std::size_t seed);
  Step compress_finalist(const FinalistState& finalist);
  PipelineTask compression_of(const FinalistState& finalist) const;
  JobRequest training_of(const FinalistState& finalist, const CandidateState& candidate, std::size_t seed) const;
  // Of the file over the test images; `what`: "finalist 3".
  std::expected<std::optional<JobOutcome>, Error> test(const protocol::ArtifactRef& model, const std::string& kind,
                                                       const std::string& what, const DeviceConfig& device);
  Step keep_models(const FinalistState& finalist, const protocol::TrainedCandidate& trained, const Home& home) const;
  Step measure_kind(FinalistState& finalist, const std::string& kind, const DeviceConfig& device, const Home& home);
  Step evaluate_kind(FinalistState& finalist, const std::string& kind, const DeviceConfig& device);
  // Why the file gives another accuracy than it should; empty: it gives the same.
  std::string doubt_about(const FinalistState& finalist, const std::string& kind,
                          const protocol::Evaluation& evaluation) const;
  Step fail(const FinalistState& finalist, const std::string& why);
  Step keep_artifact(const Home& home, const std::string& sha256, const std::filesystem::path& to) const;
  Step conclude();

  // Baselines go beside the finalists.
  Step advance_baseline(std::size_t index, const Home& home);
  Step get_baseline(std::size_t index, const Home& home);  // trains it, or takes the user's file
  std::expected<JobRequest, Error> training_of(const BaselineConfig& baseline) const;
  Step fail_baseline(std::size_t index, const std::string& why);
  BaselineInfo baseline_info(std::size_t index) const;

  protocol::DataSpec data_spec() const;
  protocol::Recipe recipe(double epochs) const;
  bool user_trains() const { return state_.config.train.trainer == "command"; }
  protocol::UserTrainer user_trainer() const;
  protocol::SpaceSpec space_spec() const;
  // `kind`: see deployed_kind().
  protocol::Deploy deploy(const std::string& kind, const DeviceConfig& device) const;
  // A measurement of the file on one of the boards; measured anew when INVALID, twice at most. A failure when it stays
  // so, or when it lacks what the campaign optimises.
  std::expected<std::optional<JobOutcome>, Error> measure(const protocol::ArtifactRef& model, const std::string& kind,
                                                          const DeviceConfig& device, const std::string& tier,
                                                          const std::string& what,
                                                          const std::vector<std::string>& boards);
  // The boards on which the file is not measured yet.
  std::vector<std::string> further_boards(const FinalistFile& file, const DeviceConfig& device) const;
  CampaignStatus status() const;
  std::string file_name(search::CandidateId id, const std::string& precision) const;
  Interval validation_interval(const protocol::TrainedCandidate& trained) const;  // 95 %
  Interval validation_interval(double top1, std::int64_t samples = 0) const;
  std::string model_name(search::CandidateId id, const protocol::ExportedFile& file) const;
  std::string raw_name(search::CandidateId id, const std::string& kind, const std::string& board) const;
  bool has_one_board() const;
  // As the pool's typical board would show it; nothing: the device is no pool.
  std::optional<MeasurementInfo::Pooled> pooled_info(const protocol::Measurement& measurement,
                                                     const DeviceConfig& device) const;
  // That two boards of a pool do not tell the same of a file; empty: they do.
  std::string disagreement(const FinalistFile& file, const DeviceConfig& device) const;
  FrontModel front_model(const FinalistState& finalist, const CandidateState& candidate) const;

  RunFolder folder_;
  EventStore events_;
  CampaignState state_;
  std::unique_ptr<JobBoard> board_;
  std::vector<std::string> log_;
  mutable double reserve_ = 0;            // finalist_reserve() as it was ...
  mutable std::int64_t reserve_at_ = -1;  // ... after this event
  std::chrono::steady_clock::time_point opened_ = std::chrono::steady_clock::now();
  std::int64_t recorded_ = 0;
  double base_seconds_ = 0;         // campaign time before this process
  std::int64_t failed_before_ = 0;  // candidates, in earlier processes
  bool waiting_said_ = false;
  std::set<std::string> met_;  // boards that were connected since this process began
  std::optional<std::vector<KnownTeacher>> known_teachers_;
  std::optional<protocol::ArtifactRef> initial_file_;  // of [init]
  mutable std::optional<std::string> program_sha256_;  // as when this process first asked the user's trainer
};

}  // namespace finch::controller
