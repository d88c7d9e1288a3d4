#include "tests/controller/campaign/simulated_farm.hpp"

#include <cmath>
#include <format>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

constexpr double kTestIsHarder = 0.005;

template <typename T>
T need(std::expected<T, Error> value) {
  if (!value) throw std::runtime_error(value.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*value);
}

// A stand-in for a model file: what the simulation needs to know of the network.
struct Model {
  double macs = 0, top1 = 0;
  std::string precision;

  std::string text() const { return std::format("{} {} {}", macs, top1, precision); }
  static Model parse(const std::string& text) {
    Model model;
    std::istringstream(text) >> model.macs >> model.top1 >> model.precision;
    return model;
  }
};

search::Cost cost_of(const protocol::SpaceSpec& spec, const search::Genotype& genotype) {
  const auto space = search::make_search_space(
      {.name = spec.name(), .image = {spec.channels(), spec.height(), spec.width()}, .classes = spec.classes()});
  return search::cost_of((*space)->decode(genotype).value());
}

// A training's luck: another for each of five seeds in a row.
double luck_of(std::uint64_t seed) {
  return -0.002 * static_cast<double>((seed - 1) * 3 % 5);
}

std::vector<std::string> formats_of(const protocol::TrainCandidate& spec) {
  if (spec.formats().empty()) return {"onnx"};
  return {spec.formats().begin(), spec.formats().end()};
}

// More computation and more training help, and every network has a talent of its own.
double top1_of(const search::Cost& cost, const search::Genotype& genotype, double epochs) {
  const double talent = static_cast<double>(std::hash<std::string>{}(search::to_string(genotype)) % 1000) / 1e5;
  return 0.97 - 0.4 / std::log(static_cast<double>(cost.macs)) - 0.02 / (1 + epochs) - talent;
}

std::string read(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace

SimulatedFarm::SimulatedFarm(Home home)
    : home_(std::move(home)), store_(need(FarmStore::open(home_.farm_db()))), artifacts_(home_.artifacts()) {
  device.set_name("local");
  device.set_profile("local");
  device.set_machine("x86_64");
  device.set_cpu_model("Simulated");
  device.set_cores(4);
  device.set_memory_bytes(std::int64_t{4} << 30);
  device.add_measures("latency");
  device.add_measures("memory");
  device.add_cannot_measure("energy: no power sensor found");
  device.set_state_hash("state 1");
  auto& runtime = *device.add_runtimes();
  runtime.set_name("onnxruntime");
  runtime.set_version("1.21.0");
  runtime.add_providers("cpu");
}

void SimulatedFarm::connect() {
  need(store_.admit(device.name()));
  need(store_.device_seen(device, true));
}
void SimulatedFarm::disconnect() {
  need(store_.device_seen(device, false));
}

void SimulatedFarm::connect_another(const std::string& name, double slowness) {
  slowness_[name] = slowness;
  protocol::DeviceDescription another = device;
  another.set_name(name);
  another.set_state_hash("state 1 of " + name);
  others_[name] = another;
  need(store_.admit(name));
  need(store_.device_seen(another, true));
}

void SimulatedFarm::upgrade(const std::string& name, const std::string& state, const std::string& kernel) {
  protocol::DeviceDescription& upgraded = name == device.name() ? device : others_.at(name);
  upgraded.set_state_hash(state);
  upgraded.set_kernel(kernel);
}

const protocol::DeviceDescription& SimulatedFarm::described(const std::string& name) const {
  const auto other = others_.find(name);
  return other == others_.end() ? device : other->second;
}

protocol::ArtifactRef SimulatedFarm::keep(const std::string& bytes) {
  protocol::ArtifactRef artifact;
  artifact.set_sha256(artifacts_.add_bytes(bytes).value());
  artifact.set_size_bytes(static_cast<std::int64_t>(bytes.size()));
  return artifact;
}

protocol::JobResult SimulatedFarm::answer(const protocol::Job& job) {
  protocol::JobResult result;
  const auto write_compressed = [&](const Model& model, protocol::CompressedModel& written) {
    *written.mutable_model() = keep(model.text());
    *written.mutable_safetensors() = keep("tensors of " + model.text());
    written.mutable_file()->set_precision(model.precision);
    *written.mutable_file()->mutable_artifact() = keep(model.text());
    written.set_macs(static_cast<std::int64_t>(model.macs));
    written.set_parameters(written.macs() / 10);
    written.set_peak_activation_bytes(written.macs() / 20);
    written.set_compressed_bytes(written.macs() / 2);
    if (model.precision == "fp32") return;
    written.mutable_fp32_file()->set_precision("fp32");
    *written.mutable_fp32_file()->mutable_artifact() = keep(Model{model.macs, model.top1, "fp32"}.text());
  };
  if (job.has_inspect_data()) {
    auto& facts = *result.mutable_data_facts();
    facts.set_channels(1);
    facts.set_height(28);
    facts.set_width(28);
    for (const char* name : {"circle", "square", "star"}) facts.add_class_names(name);
    facts.set_train_samples(900);
    facts.set_validation_samples(100);
    facts.set_test_samples(200);
    facts.add_mean(0.5);
    facts.add_stddev(0.25);
    facts.set_data_hash("data 1");
    *facts.mutable_test_set() = keep("test set");
  } else if (job.has_export_images()) {
    *result.mutable_exported_images()->mutable_images() = keep("training images");
  } else if (job.has_compute_logits()) {
    *result.mutable_computed_logits()->mutable_logits() = keep("logits of " + job.compute_logits().model().sha256());
    result.mutable_computed_logits()->set_classes(3);
  } else if (job.has_train_teacher()) {
    auto& teacher = *result.mutable_trained_teacher();
    const auto& spec = job.train_teacher();
    if (spec.logits_size() == 0 && spec.torchscript_size() < 2) *teacher.mutable_model() = keep("teacher");
    *teacher.mutable_soft_targets() = keep("soft targets");
    teacher.set_validation_top1(0.95);
    teacher.set_seconds(20);
  } else if (job.has_export_random()) {
    const auto& spec = job.export_random();
    const auto cost = cost_of(spec.space(), {spec.genotype().begin(), spec.genotype().end()});
    for (const std::string& precision : spec.precisions()) {
      auto& file = *result.mutable_exported_network()->add_files();
      file.set_precision(precision);
      file.set_format(spec.format());
      *file.mutable_artifact() =
          keep(Model{static_cast<double>(cost.macs), 0.1, precision}.text() + " " + spec.format());
    }
  } else if (job.has_train_candidate()) {
    const auto& spec = job.train_candidate();
    const search::Genotype genotype(spec.genotype().begin(), spec.genotype().end());
    const auto cost = cost_of(spec.space(), genotype);
    auto& trained = *result.mutable_trained_candidate();
    trained.set_validation_top1(top1_of(cost, genotype, spec.recipe().epochs()) + luck_of(spec.recipe().seed()));
    trained.set_seconds(10 * spec.recipe().epochs());
    *trained.mutable_checkpoint() =
        keep(std::format("weights of {} after {}", search::to_string(genotype), spec.recipe().epochs()));
    for (const std::string& format : formats_of(spec)) {
      for (const std::string& precision : spec.precisions()) {
        auto& file = *trained.add_files();
        file.set_precision(precision);
        file.set_format(format);
        const double top1 = trained.validation_top1() - (precision == "int8" ? 0.012 : 0);
        *file.mutable_artifact() = keep(Model{static_cast<double>(cost.macs), top1, precision}.text() + " " + format);
        if (precision == "fp32") file.set_test_top1(top1 - kTestIsHarder);
      }
    }
    if (spec.precisions_size() > 0) {
      auto& report = *trained.mutable_quantization();
      report.set_fp32_top1(0.9);
      report.set_ptq_top1(0.85);
      report.set_qat_top1(0.88);
      report.set_int8_top1(0.888);
      report.set_trained(true);
      report.add_float_layers("head");
      report.set_image_layers(1);
      report.set_layers(12);
    }
    result.set_paused_seconds(0.5);
  } else if (job.has_train_supernet()) {
    auto& trained = *result.mutable_trained_supernet();
    *trained.mutable_supernet() = keep(std::format("supernet after {}", job.train_supernet().recipe().epochs()));
    trained.set_seconds(40);
    trained.set_images_per_second(1000);
    result.set_paused_seconds(0.25);
  } else if (job.has_evaluate_subnet()) {
    const auto& spec = job.evaluate_subnet();
    const search::Genotype genotype(spec.genotype().begin(), spec.genotype().end());
    auto& evaluated = *result.mutable_trained_candidate();
    evaluated.set_validation_top1(top1_of(cost_of(spec.space(), genotype), genotype, 0));
    evaluated.set_seconds(0.5);
    *evaluated.mutable_checkpoint() = keep("slice " + search::to_string(genotype));
  } else if (job.has_read_weights()) {
    auto& initial = *result.mutable_initial_weights();
    *initial.mutable_weights() = keep("initial weights of " + job.read_weights().file().sha256());
    initial.set_loaded(12);
    initial.add_left_out("the head is a new one: classifier.1.weight");
  } else if (job.has_read_model()) {
    const auto& spec = job.read_model();
    const search::Genotype genotype(spec.genotype().begin(), spec.genotype().end());
    const auto cost = cost_of(spec.space(), genotype);
    auto& model = *result.mutable_compressed_model();
    write_compressed({static_cast<double>(cost.macs), top1_of(cost, genotype, 3), "fp32"}, model);
    *model.mutable_validation_set() = keep("validation set");
  } else if (job.has_compress_model()) {
    const auto& spec = job.compress_model();
    Model changed = Model::parse(read(artifacts_.path_of(spec.model().sha256())));
    if (spec.step() == "prune") changed.macs *= 1 - spec.amount();
    if (spec.step() == "prune") changed.top1 -= 0.01 * spec.amount();
    if (spec.step() == "distill") changed.top1 += 0.01;
    if (spec.step() == "quantize") changed.precision = "int8";
    auto& model = *result.mutable_compressed_model();
    write_compressed(changed, model);
    if (changed.precision == "int8") model.mutable_quantization()->set_fp32_top1(changed.top1);
    result.set_paused_seconds(0.125);
  } else if (job.has_measure() && !job.measure().state_hash().empty() &&
             job.measure().state_hash() != described(job.measure().device()).state_hash()) {
    result.mutable_failure()->set_message("the device changed");
    *result.mutable_device() = described(job.measure().device());
  } else if (job.has_calibrate()) {
    auto& calibration = *result.mutable_calibration();
    calibration.set_reference_ms(slowness_.at(job.calibrate().device()));
    calibration.set_verdict("VALID");
  } else if (job.has_measure()) {
    const auto model = Model::parse(read(artifacts_.path_of(job.measure().model().sha256())));
    auto& measurement = *result.mutable_measurement();
    measurement.set_device(job.measure().device());
    measurement.set_profile(device.profile());
    *measurement.mutable_runtime() = device.runtimes(0);
    measurement.set_tier(job.measure().tier());
    *measurement.mutable_deploy() = job.measure().deploy();
    measurement.set_verdict("VALID");
    const auto slower = slowness_.find(job.measure().device());
    const double speed = job.measure().deploy().runtime() == "openvino" ? 0.8 : 1;
    const double ms = speed * (0.01 + model.macs * (model.precision == "int8" ? 1.1e-6 : 1e-6)) *
                      (slower == slowness_.end() ? 1 : slower->second);
    measurement.set_latency_median_ms(ms);
    measurement.set_latency_ci_low_ms(0.99 * ms);
    measurement.set_latency_ci_high_ms(1.01 * ms);
    measurement.set_latency_p90_ms(1.1 * ms);
    measurement.set_latency_p99_ms(1.2 * ms);
    measurement.set_runs(100);
    measurement.set_run_peak_bytes(1 << 20);
    measurement.set_artifact_sha256(job.measure().model().sha256());
    *measurement.mutable_raw() = keep(std::format("every latency of {}", job.measure().model().sha256()));
    measurement.set_seconds(2);
    if (job.measure().has_rival()) {
      const auto rival = Model::parse(read(artifacts_.path_of(job.measure().rival().sha256())));
      const double ratio =
          model.macs * (model.precision == "int8" ? 1.1 : 1) / (rival.macs * (rival.precision == "int8" ? 1.1 : 1));
      measurement.set_reference_ratio_median(ratio);
      measurement.set_reference_ratio_ci_low(0.99 * ratio);
      measurement.set_reference_ratio_ci_high(1.01 * ratio);
    }
    if (!job.measure().has_rival()) {
      const double ratio = ms / (slower == slowness_.end() ? 1 : slower->second);
      measurement.set_reference_ratio_median(ratio);
      measurement.set_reference_ratio_ci_low(0.99 * ratio);
      measurement.set_reference_ratio_ci_high(1.01 * ratio);
    }
    measurement.set_device_state_hash(described(job.measure().device()).state_hash());
  } else if (job.has_evaluate()) {
    const auto model = Model::parse(read(artifacts_.path_of(job.evaluate().model().sha256())));
    auto& evaluation = *result.mutable_evaluation();
    evaluation.set_top1(model.top1 - kTestIsHarder);
    evaluation.set_samples(200);
    if (model.precision == "int8") {
      evaluation.set_integer_layers(10);
      for (const char* node : {"stem", "head", "expand"}) evaluation.add_float_layers(node);
    }
  } else {
    result.mutable_failure()->set_message("not a job of a campaign");
  }
  return result;
}

bool SimulatedFarm::serve_one() {
  const auto queue = need(store_.queued());
  if (queue.empty()) return false;
  const QueuedJob& first = queue.front();
  const auto token = need(store_.lease(first.key, first.target.empty() ? "trainer" : first.target));
  protocol::Job job;
  job.ParseFromString(first.job);
  auto result = answer(job);
  if (tamper) tamper(job, result);
  if (need(store_.complete(first.key, token.value(), result.SerializeAsString(), result.has_failure()))) {
    ++completions[first.key];
    served.push_back(std::move(job));
  }
  return true;
}

void SimulatedFarm::serve_all() {
  while (serve_one()) {
  }
}

std::size_t SimulatedFarm::count(protocol::Job::SpecCase kind) const {
  return static_cast<std::size_t>(std::ranges::count(served, kind, &protocol::Job::spec_case));
}

namespace {

Home make_home(const std::filesystem::path& root) {
  Home home{root};
  std::filesystem::create_directories(home.artifacts());
  return home;
}

}  // namespace

CampaignFixture::CampaignFixture()
    : home(make_home(root_.path() / "home")), store(need(FarmStore::open(home.farm_db()))), farm(home) {
  farm.connect();
}

CampaignConfig CampaignFixture::config(const std::string& tables) const {
  const auto text = std::format("[campaign]\nname = \"small\"\nseed = 5\n[data]\npath = \"{}\"\n[[device]]\n{}",
                                root_.path().string(), tables);
  auto config = need(parse_campaign(text, root_.path() / "small.toml"));
  if (!tables.contains("mode = \"supernet\"")) config.train.mode = "standalone";  // no stage more than a test asks for
  resolve(config, std::vector<DeviceProfile>(config.devices.size()));
  return config;
}

std::unique_ptr<CampaignRun> CampaignFixture::create(const std::string& name, const CampaignConfig& config) {
  auto campaign = need(Campaign::create(config, folder(name)));
  return std::unique_ptr<CampaignRun>(dynamic_cast<CampaignRun*>(campaign.release()));
}

std::unique_ptr<CampaignRun> CampaignFixture::open(const std::string& name) {
  auto campaign = need(Campaign::open(folder(name)));
  return std::unique_ptr<CampaignRun>(dynamic_cast<CampaignRun*>(campaign.release()));
}

std::expected<void, Error> CampaignFixture::drive(CampaignRun& run, std::size_t steps) {
  for (std::size_t i = 0; i < steps && !run.finished(); ++i) {
    const auto before = run.recorded();
    if (auto stepped = run.step(home, store); !stepped) return stepped;
    if (run.recorded() == before && !farm.serve_one())
      return std::unexpected(Error{"the campaign waits, and there is no job to wait for"});
  }
  return {};
}

CampaignResult CampaignFixture::finish(const std::string& name, const CampaignConfig& config) {
  const auto run = create(name, config);
  need(drive(*run));
  return need(run->result());
}

std::vector<Event> CampaignFixture::events(const std::string& name) const {
  return need(need(EventStore::open(folder(name) / "campaign.db")).load());
}

std::vector<std::string> types_of(const std::vector<Event>& events) {
  std::vector<std::string> types;
  for (const Event& event : events) types.push_back(event.type);
  return types;
}

}  // namespace finch::controller
