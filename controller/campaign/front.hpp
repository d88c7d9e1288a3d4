// The result of a campaign as files and pages show it: front.json, front.csv, report.html all print this value.
// A plain value; concurrent reads are safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controller/campaign/confusion.hpp"

namespace finch::controller {

struct ObjectiveInfo {
  std::string name, direction, unit;
};

struct DeployInfo {
  std::string runtime, provider, precision;
  int threads = 1;
  int batch = 1;
};

// A model run at a rate, with idle time between the frames.
struct AtRateInfo {
  double rate_hz = 0;
  std::int64_t frames = 0, missed_deadlines = 0;
  double median_ms = 0, p99_ms = 0;
};

// A model in bad company.
struct ConditionInfo {
  std::string name;                       // "CPU load"
  double median_ms = 0, p99_ms = 0;       // 0: not known
  double slowdown = 0;                    // the median into that in quiet; 0: there are no figures
  std::vector<std::string> remarks = {};  // what the device did, or why there are none
};

struct MeasurementInfo {
  std::string device, profile;
  std::string runtime;  // "onnxruntime 1.21.0"
  std::string tier;
  DeployInfo deploy;
  std::string verdict;
  std::vector<std::string> reasons;
  double median_ms = 0, ci_low_ms = 0, ci_high_ms = 0, p90_ms = 0, p99_ms = 0;
  std::int64_t runs = 0;
  std::int64_t load_peak_bytes = 0, run_peak_bytes = 0;
  struct Energy {
    double gross_mj = 0, net_mj = 0;
    std::string provenance;
  };
  std::optional<Energy> energy;
  // Free of the device's drift: the ratio to the reference network, times what that takes on this device when all is
  // well. Absent: the device was not calibrated in this state.
  struct Normalised {
    double median_ms = 0, ci_low_ms = 0, ci_high_ms = 0, baseline_ms = 0;
  };
  std::optional<Normalised> normalised = {};
  // On one board of a pool: as the pool's typical board would show it, by the ratio to the reference network.
  struct Pooled {
    std::string pool;
    double effect = 0;  // of the board: 0.05 is 5 % slower than the typical one
    double median_ms = 0, ci_low_ms = 0, ci_high_ms = 0;
  };
  std::optional<Pooled> pooled = {};
  std::string epoch = {};  // the beginning of the device state's hash
  std::optional<AtRateInfo> at_rate = {};
  std::vector<ConditionInfo> conditions = {};  // of the tier "stability", as are the minutes
  std::vector<double> minute_median_ms = {};
  double engine_build_seconds = 0;  // before the measurement; 0: nothing was compiled ahead
  std::string artifact_sha256;
  std::optional<std::string> raw;  // path relative to the run folder
  bool reused = false;             // recorded by an earlier campaign on the same device in the same state
};

// What two measurements are compared by: of a pool's boards the pooled latency, else the measured one.
struct ComparedLatency {
  double median_ms = 0, ci_low_ms = 0, ci_high_ms = 0;
};
inline ComparedLatency compared_latency(const MeasurementInfo& m) {
  if (m.pooled) return {m.pooled->median_ms, m.pooled->ci_low_ms, m.pooled->ci_high_ms};
  return {m.median_ms, m.ci_low_ms, m.ci_high_ms};
}

struct MetricInfo {
  std::string name;                           // "balanced_accuracy", ...
  double value = 0, ci_low = 0, ci_high = 1;  // 0..1; 95 %, bootstrap over the images
};

struct AccuracyInfo {
  double top1 = 0;  // 0..1
  std::int64_t samples = 0;
  std::string split;  // "test"
  bool reused = false;
  double ci_low = 0, ci_high = 1;  // 95 %, Wilson
  // Empty where the result does not say which class each image was taken for.
  std::vector<MetricInfo> metrics = {};
  Confusion confusion = {};
  std::vector<bool> right = {};  // image by image
};

// One training of a finalist that was trained several times.
struct SeedInfo {
  std::uint64_t seed = 0;
  double validation_top1 = 0;
  double test_top1 = 0;  // of the file in the deployed precision
  bool deployed = false;
};

struct ModelFile {
  std::string path;  // relative to the run folder
  std::string precision;
  std::string sha256;
  std::int64_t size_bytes = 0;
  std::optional<AccuracyInfo> accuracy;
  std::vector<MeasurementInfo> measurements;
  std::vector<float> first_logits = {};  // [images, classes] of the first test images, on the first device
};
inline bool is_tflite(const ModelFile& file) {
  return file.path.ends_with(".tflite");
}

struct FrontModel {
  std::string id;
  std::string space;
  std::vector<int> genotype;
  std::int64_t parameters = 0, macs = 0, peak_activation_bytes = 0;
  double validation_top1 = 0, validation_ci_low = 0, validation_ci_high = 1;
  double screen_latency_ms = 0;  // of the random-weight file, before training
  std::vector<ModelFile> files;
  std::vector<std::string> tied_with = {};  // models that the test images do not tell from this one
  std::vector<SeedInfo> seeds = {};         // when it was trained more than once
  std::string weights_sha256 = {};          // artifact, safetensors; empty: none
  std::vector<std::string> notes;           // "int8 does not pay here: 1.03 x the latency of fp32"
};

// What the front is compared with.
struct BaselineInfo {
  std::string name;  // "mobilenet_v2 x0.5", "mine.onnx"
  std::string what;  // "mobilenet_v2, width 0.5, trained here for 20 epochs", or where the file was read
  std::int64_t parameters = 0, macs = 0;  // 0: of a file, not known
  ModelFile file;
  std::string no_accuracy = {};  // why it has none
  // The fastest file of the front that is at least as accurate on the same images; empty: none is.
  std::string rival = {};  // model's id
  std::string rival_precision = {};
  double speedup = 0;   // its median latency into the baseline's, on the first device
  bool faster = false;  // the rival's interval lies below the baseline's
};

// One evaluated candidate of the search, for the plots of evolution over time and of everything tried.
struct CandidatePoint {
  std::uint64_t id = 0;
  std::vector<int> genotype;
  double seconds = 0;  // of campaign time when it was told
  std::optional<double> validation_top1;
  double validation_ci_low = 0, validation_ci_high = 1;  // 95 %, Wilson
  std::optional<double> latency_ms;                      // of the slowest device
  std::map<std::string, double> latency_by_device_ms;    // all that were measured or estimated
  bool estimated = false;                                // latency of one device at least
  std::int64_t parameters = 0, macs = 0, peak_activation_bytes = 0;
  std::string outcome;  // "evaluated", "stopped", "too slow", "not accurate enough", "failed: ..."
  bool reused = false;
};

// What verify() found of one file of the front.
struct FileCheck {
  std::string model, path, precision;
  double top1_then = 0, top1_now = 0;
  std::vector<std::pair<MeasurementInfo, MeasurementInfo>> measurements = {};  // then and now, device by device
  std::vector<std::string> differences = {};                                   // empty: it is as it was
};

struct DeviceFact {
  std::string label, value;
};

struct StageTime {
  std::string name;  // "teacher", "supernet", "search", "finalists"
  double seconds = 0;
  double waiting_seconds = 0;  // training stood still because the host measured
};

struct CampaignResult {
  std::string campaign;
  std::uint64_t seed = 1;
  std::string finch_version;
  std::string started, finished;  // UTC, ISO 8601
  std::string status;             // "finished", "finished early", "interrupted"
  std::vector<ObjectiveInfo> objectives;
  std::vector<FrontModel> models;  // the front, fastest first
  std::vector<BaselineInfo> baselines;
  std::string headline;  // what the baselines say of the front; empty: there are none
  std::vector<CandidatePoint> candidates;
  std::vector<DeviceFact> device;
  std::vector<StageTime> stages;
  std::string data_hash;
  std::string test_set_sha256;  // artifact
  std::vector<std::string> class_names;
  std::string precision;                                             // that is deployed
  std::string config_toml;                                           // as resolved
  std::string reproduce;                                             // the command
  double teacher_top1 = 0, teacher_ci_low = 0, teacher_ci_high = 1;  // validation; 0: none
  std::int64_t reused_results = 0;
  bool pooled = false;             // a device is a pool of boards
  std::vector<std::string> notes;  // "energy: not measured, no power sensor"
};

}  // namespace finch::controller
