// A campaign as the user wrote it, checked and with defaults filled in. A plain value; concurrent reads are safe.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "controller/config/accuracy_metric.hpp"
#include "controller/config/compression_steps.hpp"
#include "controller/config/device_profile.hpp"
#include "controller/error.hpp"
#include "search/custom_space_config.hpp"

namespace finch::controller {

struct DataConfig {
  std::string format = "idx";  // "idx" | "folder" | "cifar10" | "cifar100"
  std::string path;
  std::int64_t validation_samples = 5000;
  std::string corrupt = "refuse";  // "refuse" | "skip": what becomes of an image file that cannot be read
};

struct ObjectiveConfig {
  // "accuracy" (top1), "balanced_accuracy", "macro_f1", "worst_class_recall", "latency", "latency@pi", "parameters",
  // "macs", "memory", "energy", "energy@pi"
  std::string name;
  std::string direction;  // "maximize" | "minimize"
  std::string unit;       // "%", "ms", "", "", "bytes", "mJ"

  std::string quantity() const { return name.substr(0, name.find('@')); }
  // Of which device; empty: of the worst of all.
  std::string device() const { return name.find('@') == std::string::npos ? "" : name.substr(name.find('@') + 1); }
};

// Hard limits; absent: none. A candidate beyond one is dropped before it is trained.
struct ConstraintConfig {
  std::optional<double> latency_ms;  // on every device; a device may have a limit of its own
  std::optional<double> parameters;
  std::optional<double> macs;
  std::optional<double> memory_mb;  // peak activation memory, MiB; also bounded by the device's profile
  // 0..1, in the order of kMetrics: of the validation split in the search, of the test split for the front.
  std::array<std::optional<double>, kMetrics.size()> min_accuracy;

  std::optional<double>& min(Metric metric) { return min_accuracy[static_cast<std::size_t>(metric)]; }
  const std::optional<double>& min(Metric metric) const { return min_accuracy[static_cast<std::size_t>(metric)]; }
};

struct SearchConfig {
  std::string algorithm = "surrogate";
  std::string proxy = "none";  // a score of untrained networks that `surrogate` learns from: "synflow"
  std::int64_t population = 16;
};

struct BudgetConfig {
  std::optional<double> hours;              // of the whole campaign, teacher and finalists included
  std::optional<std::int64_t> evaluations;  // of trained candidates
};

struct TeacherConfig {
  bool enabled = true;
  // At most one of these; none: Finch trains its own.
  std::optional<std::string> torchscript;  // path of a TorchScript file
  std::optional<std::string> onnx;         // path of an ONNX file, run by a device's runtime
  std::optional<std::string> from;  // run folder of a campaign: its teacher or, where it had none, its best model
  std::vector<std::string> models;  // several of such files and folders: the mean of their softened answers
  double epochs = 2;
  double learning_rate = 2e-3;

  bool is_trained() const { return !torchscript && !onnx && !from && models.empty(); }
};

// Where the weights of the search begin.
struct InitConfig {
  std::optional<std::string> from;  // run folder of a campaign with a supernet, safetensors or ONNX; none: at random
};

struct TrainConfig {
  // "supernet": shared weights are trained once, and candidates take theirs; "standalone": each candidate is trained.
  // A file without it that says how each is trained (epochs, rungs, inherit, trainer, distillation, teacher_view) means
  // the second.
  std::string mode = "supernet";
  // "finch", or "command": a program of the user's, called in the campaign file's folder with one more argument, the
  // folder of the job's files.
  std::string trainer = "finch";
  std::vector<std::string> command = {};
  double timeout_minutes = 60;  // of one call
  double epochs = 1;            // of a candidate during the search; standalone
  std::int64_t rungs = 1;      // in so many parts; only the best 1 / reduction of those so far get the next; standalone
  double reduction = 3;        // the parts grow by this factor
  double supernet_epochs = 4;  // of the shared weights; several networks learn from every image
  // "spread" | "sandwich": which networks learn in a step; the first orders them better.
  std::string supernet_sampling = "spread";
  double finalist_epochs = 3;  // of a finalist, on top of what it has learnt
  std::int64_t batch_size = 128;
  double learning_rate = 4e-3;
  double weight_decay = 1e-4;
  double label_smoothing = 0.05;
  double temperature = 3.0;
  double distillation_weight = 0.7;
  // "soft_targets" | "hint" | "attention" | "relational": what is learnt beside a teacher's soft targets; standalone.
  std::string distillation = "soft_targets";
  double feature_weight = 1;            // of the latter three in the loss
  std::string teacher_view = "cached";  // "cached" | "batch": what the teacher answers to; standalone
  std::string class_weights = "none";   // "none" | "balanced"
  bool flip = true;
  std::int64_t crop_padding = 0;
  std::int64_t randaugment_operations = 0;
  double randaugment_magnitude = 9;  // 0..30
  double random_erasing = 0;         // probability
  double mixup = 0;                  // of the Beta distribution; 0: off
  double cutmix = 0;
  bool inherit = true;       // a child starts from its parent's weights where shapes agree; standalone
  std::int64_t threads = 0;  // 0: all cores of the trainer's host

  // As many as a finalist has seen in all, but for what it inherited.
  double baseline_epochs() const { return finalist_epochs + (mode == "supernet" ? supernet_epochs : epochs); }
  bool distils_features() const { return distillation != "soft_targets"; }
  // Whether the teacher itself is needed in every step, not its cached answers alone.
  bool runs_teacher() const { return distils_features() || teacher_view == "batch"; }
};

// How int8 files come to be; see docs/compression.md.
struct QuantizeConfig {
  std::string calibration = "mse";  // "minmax" | "percentile" | "entropy" | "mse"
  std::int64_t calibration_images = 512;
  double qat_drop = 0.005;      // of top-1: what calibration may cost before more is done
  double qat_epochs = 1;        // of training with fake quantization; 0: none
  bool mixed_precision = true;  // whether layers may stay fp32 where that is not enough
};

struct FinalistConfig {
  std::int64_t count = 6;
  std::int64_t seeds = 1;  // each is trained so often; the one of median validation accuracy is deployed
  std::vector<std::string> runtimes = {};  // that finalists are measured and tested with beside deploy.runtime
  double accuracy_tolerance = 0.5;  // points of top-1 by which a deployed file may differ from what it should give
  PipelineConfig pipeline = {};     // between training and certification; no steps: none
};

struct DeployConfig {
  std::string runtime = "onnxruntime";  // "openvino", "litert": what the search measures with
  std::string provider = "cpu";
  std::string precision = "fp32";  // what the search measures; finalists are measured as fp32 and as int8
  std::int64_t threads = 0;        // 0: the profile's default
  std::int64_t batch = 1;
};

struct MeasureConfig {
  std::string search_tier = "screen";  // "quick" | "screen" | "certify"; of finalists also "stability"
  std::string finalist_tier = "certify";
  // Finalists also run at this rate, as a camera would ask for them: deadlines missed, energy a frame. 0: they do not.
  double rate_hz = 0;
  // Candidates that cannot be on the front are not measured where the device's latency can be foretold well.
  bool estimate = true;
  // Candidates too are measured with each of finalists.runtimes beside deploy.runtime, and the fastest counts.
  bool every_runtime = false;
};

struct DeviceConfig {
  std::string name = "local";     // "local": an agent that finch starts on this machine
  std::string profile = "local";  // file name in profiles/ without .toml, or a path
  // A pool: boards of this profile that share the measuring. Empty: the board that is called as the device is.
  std::vector<std::string> boards = {};
  // Where the device differs from [deploy] and [constraints]; resolve() fills them from there and from the profile.
  std::string provider;
  std::int64_t threads = 0;
  std::optional<double> latency_ms;
  MeasureOverrides measure = {};

  bool is_pool() const { return !boards.empty(); }
  std::vector<std::string> all_boards() const { return is_pool() ? boards : std::vector{name}; }
  bool operator==(const DeviceConfig&) const = default;
};

// What the front is compared with, under the same measuring and on the same test images: a network that people
// designed, trained here as long as a finalist, or a file of the user's.
struct BaselineConfig {
  std::string name;                 // as it is shown
  std::optional<std::string> file;  // ONNX
  std::string network;              // one of search::hand_designed_names(); empty: a file
  double width = 1;

  bool operator==(const BaselineConfig&) const = default;
};

// A space of the user's own, with the text that says it: results are kept by what it says, not by the file's name.
struct SpaceFile {
  std::filesystem::path file;
  std::string definition;  // the file as it was read
  search::CustomSpaceConfig config;
};

struct CampaignConfig {
  std::filesystem::path file;  // where it was read from; relative paths in it are relative to its folder
  std::string text;            // the file as it was read
  std::string name;
  std::uint64_t seed = 1;
  DataConfig data;
  std::string space = "mobilenet";  // of the user's own: the name that its file gives
  std::optional<SpaceFile> space_file;
  std::vector<ObjectiveConfig> objectives;  // [0] is an accuracy
  ConstraintConfig constraints;
  SearchConfig search;
  BudgetConfig budget;
  TeacherConfig teacher;
  InitConfig init;
  TrainConfig train;
  QuantizeConfig quantize;
  FinalistConfig finalists;
  DeployConfig deploy;
  MeasureConfig measure;
  std::vector<DeviceConfig> devices;  // at least one; every candidate is measured on each
  std::vector<BaselineConfig> baselines;

  const DeviceConfig* device(const std::string& wanted) const;            // null: not one of them
  const DeviceConfig* device_with_board(const std::string& board) const;  // likewise
  // Of the agent that finch starts on this machine.
  std::string local_profile() const {
    const DeviceConfig* local = device_with_board("local");
    return local != nullptr ? local->profile : "local";
  }
};

// Errors name file, line and key, and the nearest known key; exit code `usage`.
std::expected<CampaignConfig, Error> load_campaign(const std::filesystem::path& file);
std::expected<CampaignConfig, Error> parse_campaign(const std::string& text, const std::filesystem::path& file);

// Fills what the campaign leaves open ([deploy], [constraints], [[device]]) from the devices' profiles, one each in the
// devices' order. Precision is the campaign's: it comes from the first. The tightest memory counts.
void resolve(CampaignConfig& config, const std::vector<DeviceProfile>& profiles);
// Loads the devices' profiles and resolves. Errors: those of load_profile().
std::expected<void, Error> resolve(CampaignConfig& config);

// The configuration with every default written out, as TOML that load_campaign() reads back to the same value.
std::string resolved_toml(const CampaignConfig& config);

}  // namespace finch::controller
