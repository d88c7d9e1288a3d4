#include "controller/config/campaign_config.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <limits>

#include "controller/config/space_description.hpp"
#include "controller/config/toml_reader.hpp"
#include "search/hand_designed.hpp"
#include "search/search_algorithm.hpp"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

const std::vector<std::string> kRuntimes = {"onnxruntime", "openvino", "litert"};

const std::vector<ObjectiveConfig>& known_objectives() {
  static const std::vector<ObjectiveConfig> all = {
      {"accuracy", "maximize", "%"},           {"latency", "minimize", "ms"},
      {"parameters", "minimize", ""},          {"macs", "minimize", ""},
      {"memory", "minimize", "bytes"},         {"energy", "minimize", "mJ"},
      {"balanced_accuracy", "maximize", "%"},  {"macro_f1", "maximize", "%"},
      {"worst_class_recall", "maximize", "%"},
  };
  return all;
}

std::string absolute_to(const std::filesystem::path& file, const std::string& path) {
  if (path.empty()) return path;
  return (std::filesystem::absolute(file).parent_path() / path).lexically_normal().string();
}

// A built-in space by its name, or one of the user's own by its file. A resolved campaign holds the file's text, which
// is what counts then. Errors: those of the other file.
std::expected<void, Error> read_space(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("space");
  std::string file, definition;
  table.read_choice("name", config.space, search::search_space_names());
  table.read("file", file);
  table.read("definition", definition);
  if (table.has("file") && table.has("name")) table.complain("file", "give the name of a built-in space or a file");
  if (table.has("definition") && !table.has("file")) table.complain("definition", "it needs a file to be named after");
  table.done();
  if (file.empty() || table.has("name")) return {};
  file = absolute_to(config.file, file);
  if (!table.has("definition")) {
    auto text = read_text(file);
    if (!text) {
      table.complain("file", text.error().message);
      return {};
    }
    definition = std::move(*text);
  }
  auto description = parse_space(definition, file);
  if (!description) return std::unexpected(description.error());
  config.space = description->name;
  config.space_file = SpaceFile{file, std::move(definition), std::move(description->config)};
  return {};
}

void read_data(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("data");
  table.read_choice("format", config.data.format, {"idx", "folder", "cifar10", "cifar100"});
  table.read("path", config.data.path);
  table.read("validation_samples", config.data.validation_samples, 10, 1'000'000);
  table.read_choice("corrupt", config.data.corrupt, {"refuse", "skip"});
  if (config.data.corrupt == "skip" && config.data.format != "folder")
    table.complain("corrupt", "single images can be skipped in format = \"folder\" alone; the other files hold many");
  if (config.data.path.empty()) {
    table.complain("path", "say where the data set lies, as in path = \"/usr/share/datasets/fashion-mnist\"");
  } else {
    config.data.path = absolute_to(config.file, config.data.path);
    std::error_code ignored;
    if (!std::filesystem::exists(config.data.path, ignored)) {
      const bool packaged = config.data.path.ends_with("datasets/fashion-mnist");
      table.complain("path", std::format("there is no {}{}", config.data.path,
                                         packaged ? "; install it: apt install dataset-fashion-mnist" : ""));
    } else if (!std::filesystem::is_directory(config.data.path, ignored)) {
      table.complain("path",
                     std::format("{} is no folder; name the folder that the data set lies in", config.data.path));
    }
  }
  table.done();
}

void read_search(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("search");
  table.read_choice("algorithm", config.search.algorithm, search::search_algorithm_names());
  table.read_choice("proxy", config.search.proxy, search::proxy_names());
  table.read("population", config.search.population, 4, 10'000);
  std::vector<std::string> names = {"accuracy", "latency"};
  table.read("objectives", names);
  std::set<std::string> known;
  for (const ObjectiveConfig& objective : known_objectives()) known.insert(objective.name);
  for (const DeviceConfig& device : config.devices) known.insert({"latency@" + device.name, "energy@" + device.name});
  std::ranges::replace(names, std::string("top1"), std::string("accuracy"));
  for (const std::string& name : names) {
    ObjectiveConfig objective{name, "", ""};
    const auto found = std::ranges::find(known_objectives(), objective.quantity(), &ObjectiveConfig::name);
    if (!known.contains(name)) {
      table.complain("objectives", std::format("'{}' is not known{}", name, did_you_mean(name, known)));
    } else if (std::ranges::find(config.objectives, name, &ObjectiveConfig::name) != config.objectives.end()) {
      table.complain("objectives", std::format("'{}' is named twice", name));
    } else {
      objective.direction = found->direction;
      objective.unit = found->unit;
      config.objectives.push_back(std::move(objective));
    }
  }
  const auto is_accuracy = [](const std::string& name) { return metric_named(name).has_value(); };
  if (names.empty() || !is_accuracy(names.front()) || std::ranges::all_of(names, is_accuracy))
    table.complain("objectives",
                   "the first objective is accuracy (or balanced_accuracy, macro_f1, worst_class_recall), "
                   "and at least one cost follows");
  table.done();
}

void read_constraints(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("constraints");
  table.read("latency_ms", config.constraints.latency_ms, 1e-6, 1e6);
  table.read("parameters", config.constraints.parameters, 1.0, 1e12);
  table.read("macs", config.constraints.macs, 1.0, 1e15);
  table.read("memory_mb", config.constraints.memory_mb, 1e-3, 1e6);
  for (const Metric metric : kMetrics)
    table.read((std::string("min_") + name_of(metric)).c_str(), config.constraints.min(metric), 0.0, 1.0);
  table.done();
}

void read_budget(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("budget");
  table.read("hours", config.budget.hours, 0.01, 10'000.0);
  table.read("evaluations", config.budget.evaluations, std::int64_t{1}, std::int64_t{1'000'000});
  if (!config.budget.hours && !config.budget.evaluations)
    table.complain("evaluations", "a campaign needs an end: give hours, evaluations, or both");
  table.done();
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

bool is_campaign(const std::string& path) {
  return is_file(path + "/campaign.db");
}

void read_teacher(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("teacher");
  table.read("enabled", config.teacher.enabled);
  table.read("epochs", config.teacher.epochs, 0.01, 10'000.0);
  table.read("learning_rate", config.teacher.learning_rate, 1e-7, 10.0);
  TeacherConfig& teacher = config.teacher;
  const auto read_path = [&](const char* key, std::optional<std::string>& path, bool is_there(const std::string&),
                             const char* what) {
    std::string text;
    table.read(key, text);
    if (text.empty()) return;
    path = absolute_to(config.file, text);
    if (!is_there(*path)) table.complain(key, std::format("there is no {} {}", what, *path));
  };
  read_path("torchscript", teacher.torchscript, is_file, "file");
  read_path("onnx", teacher.onnx, is_file, "file");
  read_path("from", teacher.from, is_campaign, "campaign in");
  table.read("models", teacher.models);
  for (std::string& model : teacher.models) {
    model = absolute_to(config.file, model);
    if (!is_file(model) && !is_campaign(model))
      table.complain("models", std::format("{} is neither a file nor a campaign's folder", model));
  }
  const int given = teacher.torchscript.has_value() + teacher.onnx.has_value() + teacher.from.has_value() +
                    static_cast<int>(!teacher.models.empty());
  if (given > 1) table.complain("models", "give one of torchscript, onnx, from and models; models holds several");
  table.done();
}

void read_init(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("init");
  std::string from;
  table.read("from", from);
  if (!from.empty()) {
    config.init.from = absolute_to(config.file, from);
    if (!is_file(*config.init.from) && !is_campaign(*config.init.from))
      table.complain("from", std::format("{} is neither a file nor a campaign's folder", *config.init.from));
    if (config.train.trainer == "command")
      table.complain("from", "a program of your own begins where it likes; take [init] out");
  }
  table.done();
}

void read_distillation(TomlTable& table, CampaignConfig& config) {
  TrainConfig& train = config.train;
  table.read_choice("distillation", train.distillation, {"soft_targets", "hint", "attention", "relational"});
  table.read("feature_weight", train.feature_weight, 0.0, 1e6);
  table.read_choice("teacher_view", train.teacher_view, {"cached", "batch"});
  const char* const key = train.distils_features() ? "distillation" : "teacher_view";
  const TeacherConfig& teacher = config.teacher;
  if (!train.runs_teacher()) return;
  if (!teacher.enabled) {
    table.complain(key, "it needs a teacher: [teacher] enabled = true");
  } else if (train.mode == "supernet") {
    table.complain(key, "a supernet learns from cached answers alone: mode = \"standalone\"");
  } else if (teacher.onnx || !teacher.models.empty()) {
    table.complain(key,
                   "of a teacher from ONNX or of several, the answers alone are there: train one, or name a campaign "
                   "with one (teacher.from)");
  } else if (train.distils_features() && teacher.torchscript) {
    table.complain(key,
                   "a TorchScript teacher shows its answers alone: train one, or name a campaign with one "
                   "(teacher.from)");
  }
}

void read_train(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("train");
  TrainConfig& train = config.train;
  constexpr std::array kOfEachCandidate = {"epochs", "rungs", "inherit", "trainer", "distillation", "teacher_view"};
  if (std::ranges::any_of(kOfEachCandidate, [&](const char* key) { return table.has(key); })) train.mode = "standalone";
  table.read_choice("mode", train.mode, {"standalone", "supernet"});
  table.read_choice("trainer", train.trainer, {"finch", "command"});
  table.read("command", train.command);
  table.read("timeout_minutes", train.timeout_minutes, 0.01, 100'000.0);
  const bool own = train.trainer == "command";
  if (own && (train.command.empty() || train.command.front().empty()))
    table.complain("command", "say which program trains, as in command = [\"python3\", \"train.py\"]");
  if (!own && !train.command.empty()) table.complain("command", "it needs trainer = \"command\"");
  if (own && train.mode == "supernet")
    table.complain("trainer", "a program of your own trains each candidate: mode = \"standalone\"");
  if (own && (!config.teacher.is_trained() || train.runs_teacher()))
    table.complain("trainer", "a program of your own brings its teacher itself; take [teacher] and distillation out");
  table.read("epochs", train.epochs, 0.001, 10'000.0);
  table.read("rungs", train.rungs, 1, 8);
  table.read("reduction", train.reduction, 1.5, 16.0);
  if (train.rungs > 1 && train.mode == "supernet")
    table.complain("rungs", "training ends early only where each candidate is trained: mode = \"standalone\"");
  table.read("supernet_epochs", train.supernet_epochs, 0.001, 10'000.0);
  table.read_choice("supernet_sampling", train.supernet_sampling, {"sandwich", "spread"});
  table.read("finalist_epochs", train.finalist_epochs, 0.0, 10'000.0);
  table.read("batch_size", train.batch_size, 2, 65'536);
  table.read("learning_rate", train.learning_rate, 1e-7, 10.0);
  table.read("weight_decay", train.weight_decay, 0.0, 1.0);
  table.read("label_smoothing", train.label_smoothing, 0.0, 0.9);
  table.read("temperature", train.temperature, 0.1, 100.0);
  table.read("distillation_weight", train.distillation_weight, 0.0, 1.0);
  read_distillation(table, config);
  table.read_choice("class_weights", train.class_weights, {"none", "balanced"});
  table.read("flip", train.flip);
  table.read("crop_padding", train.crop_padding, 0, 64);
  table.read("randaugment_operations", train.randaugment_operations, 0, 16);
  table.read("randaugment_magnitude", train.randaugment_magnitude, 0.0, 30.0);
  table.read("random_erasing", train.random_erasing, 0.0, 1.0);
  table.read("mixup", train.mixup, 0.0, 100.0);
  table.read("cutmix", train.cutmix, 0.0, 100.0);
  table.read("inherit", train.inherit);
  table.read("threads", train.threads, 0, 1024);
  table.done();
}

void read_quantize(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("quantize");
  QuantizeConfig& quantize = config.quantize;
  table.read_choice("calibration", quantize.calibration, {"minmax", "percentile", "entropy", "mse"});
  table.read("calibration_images", quantize.calibration_images, 1, 1'000'000);
  table.read("qat_drop", quantize.qat_drop, 0.0, 1.0);
  table.read("qat_epochs", quantize.qat_epochs, 0.0, 10'000.0);
  table.read("mixed_precision", quantize.mixed_precision);
  table.done();
}

void read_deploy(TomlReader& reader, CampaignConfig& config) {
  TomlTable table = reader.table("deploy");
  DeployConfig& deploy = config.deploy;
  table.read_choice("runtime", deploy.runtime, kRuntimes);
  table.read("provider", deploy.provider);
  if (table.has("precision")) table.read_choice("precision", deploy.precision = "fp32", {"fp32", "int8"});
  table.read("threads", deploy.threads, 0, 1024);
  table.read("batch", deploy.batch, 1, 4096);
  table.done();
}

void read_steps(TomlTable& table, CampaignConfig& config) {
  PipelineConfig& pipeline = config.finalists.pipeline;
  std::vector<std::string> steps;
  table.read_list("steps", steps);
  for (const std::string& text : steps) {
    auto step = parse_step(text);
    if (step) {
      pipeline.steps.push_back(std::move(*step));
    } else {
      table.complain("steps", step.error().message);
    }
  }
  table.read("max_accuracy_drop", pipeline.max_accuracy_drop, 0.0, 1.0);
  table.read("step_epochs", pipeline.epochs, 0.0, 10'000.0);
  if (table.has("gain")) table.read_choice("gain", pipeline.gain = "latency", gain_names());
  for (const char* key : {"max_accuracy_drop", "step_epochs", "gain"}) {
    if (steps.empty() && table.has(key)) table.complain(key, "it is about steps; name some: steps = [\"prune=0.3\"]");
  }
  if (!steps.empty() && config.finalists.seeds > 1)
    table.complain("steps", "of several trainings one would be compressed and the others not; take seeds out");
  if (!steps.empty() && config.train.trainer == "command")
    table.complain("steps", "a program of your own compresses what it trains itself; take steps out");
}

void read_rest(TomlReader& reader, CampaignConfig& config) {
  TomlTable finalists = reader.table("finalists");
  finalists.read("count", config.finalists.count, 1, 1000);
  if (config.budget.evaluations && finalists.has("count") && config.finalists.count > *config.budget.evaluations) {
    finalists.complain("count", std::format("{} finalists cannot come from budget.evaluations = {}",
                                            config.finalists.count, *config.budget.evaluations));
  }
  finalists.read("seeds", config.finalists.seeds, 1, 100);
  finalists.read_list("runtimes", config.finalists.runtimes);
  for (auto name = config.finalists.runtimes.begin(); name != config.finalists.runtimes.end(); ++name) {
    if (!std::ranges::contains(kRuntimes, *name)) {
      finalists.complain("runtimes", std::format("'{}' is not a runtime; use onnxruntime, openvino or litert", *name));
    } else if (*name == config.deploy.runtime || std::find(config.finalists.runtimes.begin(), name, *name) != name) {
      finalists.complain("runtimes", std::format("'{}' is named twice, or is deploy.runtime already", *name));
    }
  }
  const auto reads_tflite = [](const std::string& name) { return name == "litert"; };
  if (config.train.trainer == "command" &&
      (reads_tflite(config.deploy.runtime) || std::ranges::any_of(config.finalists.runtimes, reads_tflite)))
    finalists.complain("runtimes", "a program of your own gives ONNX files, which litert does not read");
  finalists.read("accuracy_tolerance", config.finalists.accuracy_tolerance, 0.01, 100);
  read_steps(finalists, config);
  if (!config.finalists.pipeline.steps.empty() &&
      (reads_tflite(config.deploy.runtime) || std::ranges::any_of(config.finalists.runtimes, reads_tflite)))
    finalists.complain("steps", "compressed models are ONNX files, which litert does not read");
  finalists.done();
  TomlTable measure = reader.table("measure");
  const std::vector<std::string> tiers = {"quick", "screen", "certify"};
  measure.read_choice("search_tier", config.measure.search_tier, tiers);
  measure.read_choice("finalist_tier", config.measure.finalist_tier, {"quick", "screen", "certify", "stability"});
  TomlTable load = measure.table("load");
  load.read("rate_hz", config.measure.rate_hz, 0.001, 100'000.0);
  load.done();
  measure.read("estimate", config.measure.estimate);
  measure.read("every_runtime", config.measure.every_runtime);
  if (config.measure.every_runtime && config.finalists.runtimes.empty())
    measure.complain("every_runtime", "there is only one; name the others in finalists.runtimes");
  measure.done();
}

void read_devices(TomlReader& reader, CampaignConfig& config) {
  for (TomlTable& table : reader.tables("device")) {
    DeviceConfig device;
    table.read("name", device.name);
    table.read("profile", device.profile);
    table.read("provider", device.provider);
    table.read("threads", device.threads, 0, 1024);
    table.read("latency_ms", device.latency_ms, 1e-6, 1e6);
    table.read("boards", device.boards);
    TomlTable measure = table.table("measure");
    device.measure = read_measure_overrides(measure);
    if (device.profile.ends_with(".toml")) device.profile = absolute_to(config.file, device.profile);
    if (device.name.empty()) table.complain("name", "a device has a name; see: finch devices");
    const bool doubled = config.device(device.name) != nullptr;
    if (doubled) table.complain("name", std::format("there are two devices '{}'", device.name));
    for (auto board = device.boards.begin(); board != device.boards.end(); ++board) {
      if (board->empty()) table.complain("boards", "a board has a name; see: finch devices");
      if (config.device_with_board(*board) != nullptr || std::find(device.boards.begin(), board, *board) != board)
        table.complain("boards", std::format("the board '{}' is named twice", *board));
    }
    if (!doubled && !device.is_pool() && config.device_with_board(device.name) != nullptr)
      table.complain("name", std::format("the board '{}' is named twice", device.name));
    table.done();
    config.devices.push_back(device);
  }
  if (config.devices.empty()) config.devices.push_back({});
}

void read_baselines(TomlReader& reader, CampaignConfig& config) {
  for (TomlTable& table : reader.tables("baseline")) {
    BaselineConfig baseline;
    std::string name, file;
    std::vector<double> widths = {1};
    table.read("name", name);
    table.read("file", file);
    if (table.has("network")) table.read_choice("network", baseline.network, search::hand_designed_names());
    table.read_list("width", widths);
    if (file.empty() == baseline.network.empty())
      table.complain("file", "give a file, or a network that Finch trains: one of both");
    if (!file.empty() && table.has("width")) table.complain("width", "a file is as wide as it is");
    if (!baseline.network.empty() && config.train.trainer == "command")
      table.complain("network", "your own trainer trains networks of the campaign's space alone; name a file");
    if (!file.empty()) {
      baseline.file = absolute_to(config.file, file);
      if (!is_file(*baseline.file)) table.complain("file", std::format("there is no file {}", *baseline.file));
    }
    table.done();
    for (const double width : widths) {
      baseline.width = width;
      baseline.name = !name.empty() ? name : std::filesystem::path(file).filename().string();
      if (name.empty() && file.empty()) baseline.name = std::format("{} x{}", baseline.network, width);
      if (!name.empty() && widths.size() > 1) baseline.name += std::format(" x{}", width);
      if (std::ranges::find(config.baselines, baseline.name, &BaselineConfig::name) != config.baselines.end())
        table.complain("name", std::format("there are two baselines '{}'", baseline.name));
      config.baselines.push_back(baseline);
    }
  }
}

}  // namespace

std::expected<CampaignConfig, Error> load_campaign(const std::filesystem::path& file) {
  return read_text(file).and_then([&](const std::string& text) { return parse_campaign(text, file); });
}

std::expected<CampaignConfig, Error> parse_campaign(const std::string& text, const std::filesystem::path& file) {
  auto reader = TomlReader::parse(text, file);
  if (!reader) return std::unexpected(reader.error());
  CampaignConfig config;
  config.file = file;
  config.text = text;
  config.name = file.stem().string();
  // What the profile decides unless the campaign says otherwise.
  config.deploy.provider.clear();
  config.deploy.precision.clear();

  TomlTable campaign = (*reader)->table("campaign");
  campaign.read("name", config.name);
  std::int64_t seed = 1;
  campaign.read("seed", seed, 0, std::numeric_limits<std::int64_t>::max());
  config.seed = static_cast<std::uint64_t>(seed);
  if (config.name.empty() || config.name.starts_with('.') || config.name.find_first_of("/\n") != std::string::npos)
    campaign.complain("name", "a name becomes part of a folder's: no slash, no dot in front, not empty");
  campaign.done();
  if (const auto read = read_space(**reader, config); !read) return std::unexpected(read.error());
  read_data(**reader, config);
  read_devices(**reader, config);
  read_search(**reader, config);
  read_constraints(**reader, config);
  read_budget(**reader, config);
  read_teacher(**reader, config);
  read_train(**reader, config);
  read_init(**reader, config);
  read_quantize(**reader, config);
  read_deploy(**reader, config);
  read_rest(**reader, config);
  read_baselines(**reader, config);
  if (const auto finished = (*reader)->finish(); !finished) return std::unexpected(finished.error());
  return config;
}

const DeviceConfig* CampaignConfig::device(const std::string& wanted) const {
  const auto found = std::ranges::find(devices, wanted, &DeviceConfig::name);
  return found == devices.end() ? nullptr : &*found;
}

const DeviceConfig* CampaignConfig::device_with_board(const std::string& board) const {
  const auto found = std::ranges::find_if(
      devices, [&](const DeviceConfig& device) { return std::ranges::contains(device.all_boards(), board); });
  return found == devices.end() ? nullptr : &*found;
}

void resolve(CampaignConfig& config, const std::vector<DeviceProfile>& profiles) {
  const DeployConfig& deploy = config.deploy;
  if (deploy.precision.empty()) config.deploy.precision = profiles.front().deploy_precision;
  std::vector<StepConfig>& steps = config.finalists.pipeline.steps;
  if (!steps.empty() && deploy.precision == "int8" && !std::ranges::contains(steps, "quantize", &StepConfig::name))
    steps.push_back({"quantize", 0});
  for (std::size_t i = 0; i < config.devices.size(); ++i) {
    const DeviceProfile& profile = profiles[i];
    DeviceConfig& device = config.devices[i];
    if (device.provider.empty()) device.provider = deploy.provider.empty() ? profile.deploy_provider : deploy.provider;
    if (device.threads == 0) device.threads = deploy.threads == 0 ? profile.deploy_threads : deploy.threads;
    device.measure = merged(std::move(device.measure), profile.measure);
    if (!device.latency_ms) device.latency_ms = config.constraints.latency_ms;
    if (!device.latency_ms && profile.latency_budget_ms > 0) device.latency_ms = profile.latency_budget_ms;
    if (profile.memory_mb > 0) {
      const double share = static_cast<double>(profile.memory_mb) * profile.memory_budget;
      config.constraints.memory_mb = std::min(config.constraints.memory_mb.value_or(share), share);
    }
  }
}

std::expected<void, Error> resolve(CampaignConfig& config) {
  std::vector<DeviceProfile> profiles;
  for (const DeviceConfig& device : config.devices) {
    auto profile = load_profile(device.profile);
    if (!profile) return std::unexpected(profile.error());
    profiles.push_back(std::move(*profile));
  }
  resolve(config, profiles);
  return {};
}

}  // namespace finch::controller
