// What a campaign knows, as its events tell it: the live run and a resume build the same value by the same apply().
// Owns the search algorithm and replays it. Not thread safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controller/campaign/board_pool.hpp"
#include "controller/campaign/confusion.hpp"
#include "controller/campaign/device_predictors.hpp"
#include "controller/campaign/event_store.hpp"
#include "controller/campaign/front.hpp"
#include "controller/campaign/step_judgement.hpp"
#include "controller/config/campaign_config.hpp"
#include "protocol/farm.pb.h"
#include "search/cost_model.hpp"
#include "search/pareto_front.hpp"
#include "search/search_algorithm.hpp"
#include "search/successive_halving.hpp"

namespace finch::controller {

inline constexpr const char* kEvaluated = "evaluated";             // trained to the end, within all limits
inline constexpr const char* kInaccurate = "not accurate enough";  // trained to the end, below a least accuracy

struct CandidateState {
  search::CandidateId id = 0;
  search::Genotype genotype;
  std::optional<search::CandidateId> parent;
  search::Cost cost;
  // Of the random-weight file, by device; an estimate of it where the device's predictor is good and nothing hangs on
  // it. Of a pool as its typical board would show it.
  std::map<std::string, protocol::Measurement> screens;
  std::optional<protocol::TrainedCandidate> trained;  // as far as it has come
  std::vector<Accuracies> rungs;                      // on the validation split, after each part of its training
  bool trains_on = false;                             // good enough for the next part
  std::optional<search::Outcome> told;
  std::string outcome;  // "evaluated", "stopped", "too slow", "not accurate enough", "failed: ..."
  double told_seconds = 0;
  bool reused = false;

  bool evaluated() const { return outcome == kEvaluated; }
  bool estimated() const;  // on one device at least
};

struct FinalistFile {
  struct Measured {
    protocol::Measurement measurement;
    bool reused = false;
  };
  // By device, as measured; of a pool on two boards.
  std::map<std::string, std::vector<Measured>> measurements;
  std::map<std::string, protocol::Evaluation> evaluations;  // by device
  std::optional<protocol::Evaluation> evaluation;           // on the first device
  bool evaluation_reused = false;

  bool is_measured_on(const std::string& device, const std::string& board) const;
  // Those of earlier states of the board do not count any more.
  void forget_earlier(const protocol::DeviceDescription& board);
};

// One of a finalist's trainings, where there are several.
struct FinalistSeed {
  std::optional<protocol::TrainedCandidate> trained;
  std::optional<protocol::Evaluation> evaluation;  // of the file in the deployed precision
};

struct FinalistState {
  search::CandidateId id = 0;
  std::vector<FinalistSeed> seeds;                    // empty: trained once
  std::size_t deployed_seed = 0;                      // the one that `trained` is
  std::optional<protocol::TrainedCandidate> trained;  // with its exported files
  PipelineState pipeline;                             // where finalists are compressed
  bool compressed = false;                            // every step is decided, and `trained` is what they left
  std::map<std::string, FinalistFile> files;          // by kind: "fp32", "int8", "int8@openvino"
  std::string failure;

  // Of the trainings, all done: the one with the median of the validation split's `metric`, the lower of two.
  std::size_t median_seed(Metric metric) const;
  // Makes the last step that was kept what was trained. REQUIRES: every step is decided.
  void take_compressed();
  std::vector<std::string> step_notes() const;  // "prune=0.3 was kept: 0.712 times the latency ..."
};

// What the front is compared with; as many as the campaign's baselines, in their order.
struct BaselineState {
  std::optional<protocol::ArtifactRef> artifact;  // the file, once it is trained or read
  FinalistFile file;
  std::string no_accuracy;  // why there is none: the file takes other inputs, or gives other classes
  std::string failure;
};

// In ms, of the device where it is greatest; 0: nowhere measured.
double worst_latency_ms(const std::map<std::string, protocol::Measurement>& by_device);

inline constexpr const char* kFinalistPrecisions[] = {"fp32", "int8"};
inline constexpr const char* kAskedToFinish = "asked to finish";  // a reason to close the search

class CampaignState {
 public:
  // Error: an event that does not fit (damaged log, a newer Finch), or a proposal that differs from the recorded one.
  std::expected<void, Error> apply(const Event& event);

  CampaignConfig config;
  std::string run_id, version, started, finished;
  double seconds = 0;                                          // of the last event
  std::map<std::string, protocol::DeviceDescription> devices;  // boards as connected last, by name
  std::map<std::string, BoardPool> pools;                      // by device; once its boards are calibrated
  std::optional<protocol::DataFacts> data;
  bool teacher_settled = false;
  std::optional<protocol::TrainedTeacher> teacher;
  std::optional<protocol::InitialWeights> initial_weights;  // with [init]
  std::optional<protocol::TrainedSupernet> supernet;        // with train.mode = "supernet"
  std::map<search::CandidateId, CandidateState> candidates;
  std::optional<std::string> search_closed;  // why no more candidates are asked for
  std::optional<std::vector<FinalistState>> finalists;
  std::set<search::CandidateId> former_finalists;  // trained as such before the campaign was extended
  std::vector<BaselineState> baselines;            // once there are finalists
  std::string status;                              // "finished", "finished early"; empty while it runs
  std::vector<std::string> notes;
  search::ParetoFront front;
  std::int64_t evaluated = 0, dropped = 0, failed = 0, reused = 0;
  double waiting_seconds = 0;
  std::map<std::string, double> stage_ends, stage_waiting;  // campaign seconds at which a stage ended; waiting in it

  // What the algorithm has just answered, one proposal or none; its event comes next.
  std::optional<std::vector<search::Proposal>> answer;
  bool exhausted = false;  // it had nothing to propose, and has learnt nothing since

  // The space and the algorithm exist once the data are known.
  const search::SearchSpace& space() const { return *space_; }
  search::SearchAlgorithm& algorithm() { return *algorithm_; }
  const search::SuccessiveHalving& halving() const { return halving_; }
  const DevicePredictors& predictors() const { return *predictors_; }
  // Of a device those that have been met; of a pool those that are calibrated.
  std::vector<std::string> boards_of(const DeviceConfig& device) const;
  // Where what takes one board is done. REQUIRES: one has been met.
  const protocol::DeviceDescription& first_board(const DeviceConfig& device) const;
  bool has_met(const DeviceConfig& device) const;  // and can measure on it
  // On so many boards finalists are measured: two, where there are.
  std::size_t boards_to_certify_on(const DeviceConfig& device) const;
  bool is_measured(const FinalistFile& file, const DeviceConfig& device) const;
  bool complete(const FinalistState& finalist) const;
  bool complete(const BaselineState& baseline) const;
  // What is compared: as measured; of a pool the mean of its boards, each as the typical board would show it. REQUIRES:
  // measured there.
  protocol::Measurement compared(const FinalistFile& file, const std::string& device) const;
  protocol::Measurement compared(const protocol::Measurement& measurement, const std::string& device) const;
  // Of the file in the deployed precision: with the search's runtime or, where it uses every one, the fastest.
  std::map<std::string, protocol::Measurement> by_device(const FinalistState& finalist) const;
  std::size_t in_flight() const;
  bool wants_supernet() const { return config.train.mode == "supernet"; }
  std::string stage() const;
  search::Cost cost_of(const search::Genotype& genotype) const;
  search::Cost cost_of(const FinalistState& finalist) const;  // as compressed
  bool compresses() const { return !config.finalists.pipeline.steps.empty(); }
  // Objective values, minimised, in the campaign's order. REQUIRES: measured on every device.
  std::vector<double> objectives(const Accuracies& accuracies,
                                 const std::map<std::string, protocol::Measurement>& by_device,
                                 const search::Cost& cost) const;
  bool wants_confusion() const;  // of an objective or a limit that top-1 does not say
  // Over the test images. REQUIRES: the data are known.
  Accuracies accuracies_of(const protocol::Evaluation& evaluation) const;
  Confusion confusion_of(const protocol::Evaluation& evaluation) const;  // empty: not known
  bool wants_energy(const std::string& device) const;                    // of this device, or of the worst

 private:
  std::expected<void, Error> start_search();
  std::expected<void, Error> apply_one(const Event& event);
  std::expected<void, Error> apply_created(const Event& event);
  std::expected<void, Error> apply_extended(const Event& event);
  std::expected<void, Error> apply_asked(const Event& event);
  void apply_history(const Event& event);
  void apply_device(const Event& event);
  void apply_screen(const Event& event);
  void apply_trained(const Event& event);
  void apply_told(const Event& event);
  void apply_finalist(const Event& event);
  void apply_baseline(const Event& event);

  std::unique_ptr<search::SearchSpace> space_;
  std::unique_ptr<search::SearchAlgorithm> algorithm_;
  search::SuccessiveHalving halving_;
  std::optional<DevicePredictors> predictors_;
};

// On the validation split.
Accuracies accuracies_of(const protocol::TrainedCandidate& trained);
Confusion confusion_of(const protocol::TrainedCandidate& trained);  // empty: not known

// As the report shows it; `raw` is the artifact's SHA-256.
MeasurementInfo measurement_info(const protocol::Measurement& measurement);

}  // namespace finch::controller
