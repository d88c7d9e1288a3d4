#include "controller/config/campaign_config.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "controller/config/toml_reader.hpp"
#include "tests/controller/config/temporary_folder.hpp"

namespace finch::controller {

// Fields that name the file itself are left out: they say where a campaign was read, not what it is.
bool operator==(const ObjectiveConfig& a, const ObjectiveConfig& b) {
  return a.name == b.name && a.direction == b.direction && a.unit == b.unit;
}

namespace {

class CampaignFile : public ::testing::Test {
 protected:
  CampaignFile() { std::filesystem::create_directories(folder_.path() / "data"); }

  CampaignConfig parse(const std::string& text) {
    const auto config = parse_campaign(text, folder_.path() / "campaign.toml");
    EXPECT_TRUE(config) << config.error().message << "\nin\n" << text;
    return config.value_or(CampaignConfig{});
  }

  TemporaryFolder folder_;
  const std::string smallest_ = "[data]\npath = \"data\"\n[budget]\nevaluations = 12\n";
};

void expect_same(const CampaignConfig& a, const CampaignConfig& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.data.format, b.data.format);
  EXPECT_EQ(a.data.path, b.data.path);
  EXPECT_EQ(a.data.validation_samples, b.data.validation_samples);
  EXPECT_EQ(a.data.corrupt, b.data.corrupt);
  EXPECT_EQ(a.space, b.space);
  EXPECT_TRUE(a.objectives == b.objectives);
  EXPECT_EQ(a.constraints.latency_ms, b.constraints.latency_ms);
  EXPECT_EQ(a.constraints.parameters, b.constraints.parameters);
  EXPECT_EQ(a.constraints.macs, b.constraints.macs);
  EXPECT_EQ(a.constraints.memory_mb, b.constraints.memory_mb);
  EXPECT_EQ(a.constraints.min_accuracy, b.constraints.min_accuracy);
  EXPECT_EQ(a.finalists.seeds, b.finalists.seeds);
  EXPECT_EQ(a.train.trainer, b.train.trainer);
  EXPECT_EQ(a.train.command, b.train.command);
  EXPECT_EQ(a.train.timeout_minutes, b.train.timeout_minutes);
  EXPECT_EQ(a.search.algorithm, b.search.algorithm);
  EXPECT_EQ(a.search.population, b.search.population);
  EXPECT_EQ(a.budget.hours, b.budget.hours);
  EXPECT_EQ(a.budget.evaluations, b.budget.evaluations);
  EXPECT_EQ(a.teacher.enabled, b.teacher.enabled);
  EXPECT_EQ(a.teacher.torchscript, b.teacher.torchscript);
  EXPECT_EQ(a.teacher.onnx, b.teacher.onnx);
  EXPECT_EQ(a.teacher.from, b.teacher.from);
  EXPECT_EQ(a.teacher.models, b.teacher.models);
  EXPECT_EQ(a.teacher.epochs, b.teacher.epochs);
  EXPECT_EQ(a.teacher.learning_rate, b.teacher.learning_rate);
  EXPECT_EQ(a.train.mode, b.train.mode);
  EXPECT_EQ(a.train.epochs, b.train.epochs);
  EXPECT_EQ(a.train.supernet_epochs, b.train.supernet_epochs);
  EXPECT_EQ(a.train.supernet_sampling, b.train.supernet_sampling);
  EXPECT_EQ(a.train.finalist_epochs, b.train.finalist_epochs);
  EXPECT_EQ(a.train.batch_size, b.train.batch_size);
  EXPECT_EQ(a.train.learning_rate, b.train.learning_rate);
  EXPECT_EQ(a.train.weight_decay, b.train.weight_decay);
  EXPECT_EQ(a.train.label_smoothing, b.train.label_smoothing);
  EXPECT_EQ(a.train.temperature, b.train.temperature);
  EXPECT_EQ(a.train.distillation_weight, b.train.distillation_weight);
  EXPECT_EQ(a.train.flip, b.train.flip);
  EXPECT_EQ(a.train.crop_padding, b.train.crop_padding);
  EXPECT_EQ(a.train.distillation, b.train.distillation);
  EXPECT_EQ(a.train.feature_weight, b.train.feature_weight);
  EXPECT_EQ(a.train.teacher_view, b.train.teacher_view);
  EXPECT_EQ(a.train.class_weights, b.train.class_weights);
  EXPECT_EQ(a.train.randaugment_operations, b.train.randaugment_operations);
  EXPECT_EQ(a.train.randaugment_magnitude, b.train.randaugment_magnitude);
  EXPECT_EQ(a.train.random_erasing, b.train.random_erasing);
  EXPECT_EQ(a.train.mixup, b.train.mixup);
  EXPECT_EQ(a.train.cutmix, b.train.cutmix);
  EXPECT_EQ(a.quantize.calibration, b.quantize.calibration);
  EXPECT_EQ(a.quantize.calibration_images, b.quantize.calibration_images);
  EXPECT_EQ(a.quantize.qat_drop, b.quantize.qat_drop);
  EXPECT_EQ(a.quantize.qat_epochs, b.quantize.qat_epochs);
  EXPECT_EQ(a.quantize.mixed_precision, b.quantize.mixed_precision);
  EXPECT_EQ(a.train.inherit, b.train.inherit);
  EXPECT_EQ(a.train.threads, b.train.threads);
  EXPECT_EQ(a.finalists.count, b.finalists.count);
  EXPECT_EQ(a.finalists.pipeline.steps, b.finalists.pipeline.steps);
  EXPECT_EQ(a.finalists.pipeline.max_accuracy_drop, b.finalists.pipeline.max_accuracy_drop);
  EXPECT_EQ(a.finalists.pipeline.epochs, b.finalists.pipeline.epochs);
  EXPECT_EQ(a.finalists.pipeline.gain, b.finalists.pipeline.gain);
  EXPECT_EQ(a.init.from, b.init.from);
  EXPECT_EQ(a.deploy.runtime, b.deploy.runtime);
  EXPECT_EQ(a.deploy.provider, b.deploy.provider);
  EXPECT_EQ(a.deploy.precision, b.deploy.precision);
  EXPECT_EQ(a.deploy.threads, b.deploy.threads);
  EXPECT_EQ(a.deploy.batch, b.deploy.batch);
  EXPECT_EQ(a.measure.search_tier, b.measure.search_tier);
  EXPECT_EQ(a.measure.finalist_tier, b.measure.finalist_tier);
  EXPECT_EQ(a.measure.rate_hz, b.measure.rate_hz);
  EXPECT_TRUE(a.devices == b.devices);
  EXPECT_TRUE(a.baselines == b.baselines);
}

TEST_F(CampaignFile, NeedsNoMoreThanDataAndABudget) {
  const CampaignConfig config = parse(smallest_);
  EXPECT_EQ(config.name, "campaign");  // after the file
  EXPECT_EQ(config.text, smallest_);
  EXPECT_EQ(config.file, folder_.path() / "campaign.toml");
  EXPECT_EQ(config.seed, 1U);
  EXPECT_EQ(config.space, "mobilenet");
  ASSERT_EQ(config.objectives.size(), 2U);
  EXPECT_EQ(config.objectives[0].name, "accuracy");
  EXPECT_EQ(config.objectives[0].direction, "maximize");
  EXPECT_EQ(config.objectives[1].name, "latency");
  EXPECT_EQ(config.objectives[1].direction, "minimize");
  EXPECT_EQ(config.objectives[1].unit, "ms");
  EXPECT_EQ(config.budget.evaluations, 12);
  EXPECT_FALSE(config.budget.hours);
  EXPECT_FALSE(config.constraints.latency_ms || config.constraints.parameters || config.constraints.macs ||
               config.constraints.memory_mb);
  ASSERT_EQ(config.devices.size(), 1U);
  EXPECT_EQ(config.devices[0].name, "local");
  EXPECT_EQ(config.devices[0].profile, "local");
}

TEST_F(CampaignFile, CandidatesAreTrainedByThemselvesWhereItSaysHow) {
  EXPECT_EQ(parse(smallest_).train.mode, "supernet");
  for (const char* said : {"epochs = 0.5", "rungs = 2", "inherit = false", "teacher_view = \"batch\""})
    EXPECT_EQ(parse(smallest_ + "[train]\n" + said + "\n").train.mode, "standalone") << said;
  EXPECT_EQ(parse(smallest_ + "[train]\nepochs = 0.5\nmode = \"supernet\"\n").train.mode, "supernet");
}

TEST_F(CampaignFile, ReadsWhatItSays) {
  const CampaignConfig config = parse(
      "[campaign]\nname = \"birds\"\nseed = 7\n"
      "[data]\nformat = \"folder\"\npath = \"data\"\nvalidation_samples = 100\n"
      "[search]\nalgorithm = \"random\"\npopulation = 8\nobjectives = [\"accuracy\", \"macs\", \"memory\"]\n"
      "[constraints]\nlatency_ms = 3\nparameters = 200000\nmacs = 2.5e7\nmemory_mb = 64\n"
      "[budget]\nhours = 0.5\nevaluations = 30\n"
      "[teacher]\nenabled = false\n[train]\nepochs = 0.25\nflip = false\nthreads = 2\n"
      "[finalists]\ncount = 3\n[deploy]\nprovider = \"xnnpack\"\nprecision = \"int8\"\nthreads = 4\nbatch = 2\n"
      "[measure]\nsearch_tier = \"quick\"\nfinalist_tier = \"stability\"\nload = { rate_hz = 30 }\n"
      "[[device]]\nname = \"pi-kitchen\"\nprofile = \"raspberry-pi-5\"\n[[device]]\nname = \"pi-attic\"\n");
  EXPECT_EQ(config.name, "birds");
  EXPECT_EQ(config.seed, 7U);
  EXPECT_EQ(config.data.format, "folder");
  EXPECT_EQ(config.data.validation_samples, 100);
  EXPECT_EQ(config.search.algorithm, "random");
  EXPECT_EQ(config.search.population, 8);
  ASSERT_EQ(config.objectives.size(), 3U);
  EXPECT_EQ(config.objectives[2].unit, "bytes");
  EXPECT_EQ(config.constraints.latency_ms, 3.0);
  EXPECT_EQ(config.constraints.parameters, 200000.0);
  EXPECT_EQ(config.constraints.macs, 2.5e7);
  EXPECT_EQ(config.constraints.memory_mb, 64.0);
  EXPECT_EQ(config.budget.hours, 0.5);
  EXPECT_EQ(config.budget.evaluations, 30);
  EXPECT_FALSE(config.teacher.enabled);
  EXPECT_EQ(config.train.epochs, 0.25);
  EXPECT_EQ(config.train.mode, "standalone");
  EXPECT_FALSE(config.train.flip);
  EXPECT_EQ(config.train.threads, 2);
  EXPECT_EQ(config.finalists.count, 3);
  EXPECT_EQ(config.deploy.provider, "xnnpack");
  EXPECT_EQ(config.deploy.precision, "int8");
  EXPECT_EQ(config.deploy.threads, 4);
  EXPECT_EQ(config.deploy.batch, 2);
  EXPECT_EQ(config.measure.search_tier, "quick");
  EXPECT_EQ(config.measure.finalist_tier, "stability");
  EXPECT_EQ(config.measure.rate_hz, 30);
  ASSERT_EQ(config.devices.size(), 2U);
  EXPECT_EQ(config.devices[0].name, "pi-kitchen");
  EXPECT_EQ(config.devices[0].profile, "raspberry-pi-5");
  EXPECT_EQ(config.devices[1].name, "pi-attic");
}

TEST_F(CampaignFile, OtherAccuraciesAreObjectivesAndConstraints) {
  const CampaignConfig config = parse(
      smallest_ +
      "[search]\nobjectives = [\"macro_f1\", \"top1\", \"latency\"]\n[constraints]\nmin_worst_class_recall = 0.7\n");
  ASSERT_EQ(config.objectives.size(), 3U);
  EXPECT_EQ(config.objectives[0].name, "macro_f1");
  EXPECT_EQ(config.objectives[0].direction, "maximize");
  EXPECT_EQ(config.objectives[0].unit, "%");
  EXPECT_EQ(config.objectives[1].name, "accuracy");  // top1 is another name of it
  EXPECT_EQ(config.constraints.min(Metric::worst_class_recall), 0.7);
  EXPECT_FALSE(config.constraints.min(Metric::top1));
}

TEST_F(CampaignFile, EnergyIsAnObjectiveInMillijoule) {
  const CampaignConfig config = parse(smallest_ + "[search]\nobjectives = [\"accuracy\", \"energy\"]\n");
  ASSERT_EQ(config.objectives.size(), 2U);
  EXPECT_EQ(config.objectives[1].name, "energy");
  EXPECT_EQ(config.objectives[1].direction, "minimize");
  EXPECT_EQ(config.objectives[1].unit, "mJ");
}

TEST_F(CampaignFile, RelativePathsAreRelativeToTheFileNotToTheProcess) {
  folder_.write("sets/birds/images", "");
  folder_.write("models/teacher.pt", "weights");
  const auto file = folder_.write(
      "campaigns/birds.toml",
      "[data]\npath = \"../sets/birds\"\n[budget]\nhours = 1\n[teacher]\ntorchscript = \"../models/teacher.pt\"\n");
  const auto config = load_campaign(file);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->data.path, (folder_.path() / "sets/birds").string());
  EXPECT_EQ(config->teacher.torchscript, (folder_.path() / "models/teacher.pt").string());
  EXPECT_EQ(config->name, "birds");
}

TEST_F(CampaignFile, AnAbsolutePathStaysAsItIs) {
  const std::string path = (folder_.path() / "data").string();
  EXPECT_EQ(parse("[data]\npath = \"" + path + "\"\n[budget]\nhours = 1\n").data.path, path);
}

TEST_F(CampaignFile, WhatTheCampaignLeavesOpenTheProfileDecides) {
  DeviceProfile profile;
  profile.deploy_provider = "xnnpack";
  profile.deploy_precision = "int8";
  profile.deploy_threads = 4;
  profile.latency_budget_ms = 33;
  profile.memory_mb = 1024;
  profile.memory_budget = 0.25;
  CampaignConfig open = parse(smallest_);
  resolve(open, {profile});
  EXPECT_EQ(open.devices[0].provider, "xnnpack");
  EXPECT_EQ(open.deploy.precision, "int8");
  EXPECT_EQ(open.devices[0].threads, 4);
  EXPECT_EQ(open.devices[0].latency_ms, 33.0);
  EXPECT_EQ(open.constraints.memory_mb, 256.0);
  EXPECT_FALSE(open.constraints.macs);

  CampaignConfig stated = parse(smallest_ + "[deploy]\nprovider = \"cpu\"\nprecision = \"fp32\"\nthreads = 1\n" +
                                "[constraints]\nlatency_ms = 5\nmemory_mb = 8\n");
  resolve(stated, {profile});
  EXPECT_EQ(stated.devices[0], (DeviceConfig{"local", "local", {}, "cpu", 1, 5.0}));
  EXPECT_EQ(stated.deploy.precision, "fp32");
  EXPECT_EQ(stated.constraints.memory_mb, 8);
}

TEST_F(CampaignFile, EachDeviceHasWhatItsOwnProfileSaysUnlessTheCampaignSaysMore) {
  DeviceProfile small, large;
  small.deploy_threads = 2;
  small.latency_budget_ms = 50;
  small.memory_mb = 512;
  large.deploy_threads = 8;
  large.deploy_provider = "cuda";
  large.deploy_precision = "int8";
  large.memory_mb = 4096;
  CampaignConfig config = parse(smallest_ +
                                "[[device]]\nname = \"small\"\nthreads = 3\n"
                                "[[device]]\nname = \"large\"\nlatency_ms = 7\n");
  resolve(config, {small, large});
  EXPECT_EQ(config.devices[0], (DeviceConfig{"small", "local", {}, "cpu", 3, 50.0}));
  EXPECT_EQ(config.devices[1], (DeviceConfig{"large", "local", {}, "cuda", 8, 7.0}));
  EXPECT_EQ(config.deploy.precision, "fp32");      // the first device's: one file for all
  EXPECT_EQ(config.constraints.memory_mb, 256.0);  // the tightest
}

TEST_F(CampaignFile, ADeviceMayBeAPoolOfBoards) {
  CampaignConfig config = parse(smallest_ + "[[device]]\nname = \"pi\"\nboards = [\"pi-1\", \"pi-2\"]\n");
  EXPECT_TRUE(config.devices[0].is_pool());
  EXPECT_EQ(config.device_with_board("pi-2"), &config.devices[0]);
  EXPECT_EQ(config.device_with_board("pi"), nullptr);
  expect_same(parse(resolved_toml(config)), config);
  for (const char* twice : {"[[device]]\nname = \"a\"\nboards = [\"b\", \"b\"]\n",
                            "[[device]]\nname = \"a\"\n[[device]]\nname = \"c\"\nboards = [\"a\"]\n",
                            "[[device]]\nname = \"c\"\nboards = [\"a\"]\n[[device]]\nname = \"a\"\n"}) {
    const auto wrong = parse_campaign(smallest_ + twice, folder_.path() / "campaign.toml");
    ASSERT_FALSE(wrong);
    EXPECT_NE(wrong.error().message.find("is named twice"), std::string::npos) << wrong.error().message;
  }
}

TEST_F(CampaignFile, MeasuringIsAsTheProfileSaysUnlessTheDeviceSaysMore) {
  DeviceProfile profile;
  profile.measure.all = {{"half_width", {0.02}}, {"rounds", {6}}};
  CampaignConfig config =
      parse(smallest_ + "[[device]]\nname = \"pi\"\nmeasure = { rounds = 8, certify = { launches = [4, 8] } }\n");
  resolve(config, {profile});
  const auto certify = config.devices[0].measure.of_tier("certify");
  EXPECT_EQ(certify, (MeasureParameterValues{{"half_width", {0.02}}, {"launches", {4, 8}}, {"rounds", {8}}}));
  expect_same(parse(resolved_toml(config)), config);
}

TEST_F(CampaignFile, ObjectivesMayNameADevice) {
  const CampaignConfig config =
      parse(smallest_ + "[search]\nobjectives = [\"accuracy\", \"latency\", \"latency@pi\", \"energy@pi\"]\n" +
            "[[device]]\nname = \"pi\"\n[[device]]\nname = \"orin\"\n");
  ASSERT_EQ(config.objectives.size(), 4u);
  EXPECT_EQ(config.objectives[1].device(), "");
  EXPECT_EQ(config.objectives[2].quantity(), "latency");
  EXPECT_EQ(config.objectives[2].device(), "pi");
  EXPECT_EQ(config.objectives[2].unit, "ms");
  EXPECT_EQ(config.objectives[3].unit, "mJ");
  expect_same(parse(resolved_toml(config)), config);
}

TEST_F(CampaignFile, AProfileWithoutBudgetsSetsNoLimit) {
  CampaignConfig config = parse(smallest_);
  resolve(config, {DeviceProfile{}});
  EXPECT_FALSE(config.constraints.memory_mb);
  EXPECT_EQ(config.devices[0], (DeviceConfig{"local", "local", {}, "cpu", 1, std::nullopt}));
  EXPECT_EQ(config.deploy.precision, "fp32");
}

TEST_F(CampaignFile, ResolvingTwiceIsResolvingOnce) {
  DeviceProfile first;
  first.deploy_threads = 4;
  first.latency_budget_ms = 10;
  CampaignConfig config = parse(smallest_);
  resolve(config, {first});
  const CampaignConfig once = config;
  DeviceProfile second;
  second.deploy_threads = 2;
  second.deploy_precision = "int8";
  second.latency_budget_ms = 99;
  resolve(config, {second});
  expect_same(config, once);
}

TEST_F(CampaignFile, ReadsBackAsItWasWritten) {
  CampaignConfig config = parse(smallest_);
  expect_same(parse(resolved_toml(config)), config);  // what the profile decides is still open
  resolve(config, {DeviceProfile{}});
  const std::string text = resolved_toml(config);
  expect_same(parse(text), config);
  EXPECT_EQ(resolved_toml(parse(text)), text);
}

// Random values from the whole of every range, written and read back.
TEST_F(CampaignFile, AnyConfigurationReadsBackToTheSameValue) {
  std::mt19937_64 random(3);
  const auto whole = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const auto real = [&](double low, double high) {  // log-uniform where the range spans orders of magnitude
    if (whole(0, 9) == 0) return whole(0, 1) == 0 ? low : high;
    if (low <= 0) return std::uniform_real_distribution<double>(low, high)(random);
    return std::clamp(std::exp(std::uniform_real_distribution<double>(std::log(low), std::log(high))(random)), low,
                      high);
  };
  const auto flag = [&] { return whole(0, 1) == 1; };
  const auto one_of = [&](const std::vector<std::string>& all) {
    return all[static_cast<std::size_t>(whole(0, static_cast<std::int64_t>(all.size()) - 1))];
  };
  const auto maybe = [&](double low, double high) { return flag() ? std::optional(real(low, high)) : std::nullopt; };
  const std::vector<std::string> names = {"plain",        "with \"quotes\"", "back\\slash", "tab\there", "# no comment",
                                          "[no] = table", "Größe und 鳥",    "'single'",    " spaces ",  "\x01\x1f"};
  for (int round = 0; round < 200; ++round) {
    CampaignConfig config = parse(smallest_);
    config.name = one_of(names);
    config.seed = static_cast<std::uint64_t>(whole(0, std::numeric_limits<std::int64_t>::max()));
    config.data.format = one_of({"idx", "folder", "cifar10", "cifar100"});
    if (config.data.format == "folder") config.data.corrupt = one_of({"refuse", "skip"});
    config.data.validation_samples = whole(10, 1'000'000);
    config.search.algorithm = one_of({"surrogate", "nsga2", "unsga3", "aging", "random"});
    config.search.population = whole(4, 10'000);
    if (flag()) config.objectives.push_back({"memory", "minimize", "bytes"});
    if (flag()) config.objectives.push_back({"energy", "minimize", "mJ"});
    config.constraints = {maybe(1e-6, 1e6), maybe(1, 1e12), maybe(1, 1e15), maybe(1e-3, 1e6), {}};
    for (const Metric metric : kMetrics) config.constraints.min(metric) = maybe(0, 1);
    config.budget.hours = maybe(0.01, 10'000);
    if (config.budget.hours && flag()) config.budget.evaluations.reset();
    if (config.budget.evaluations) config.budget.evaluations = whole(1, 1'000'000);
    config.teacher.enabled = flag();
    switch (whole(0, 4)) {
      case 0:
        config.teacher.torchscript = folder_.write("teacher \"one\".pt", "").string();
        break;
      case 1:
        config.teacher.onnx = folder_.write("teacher.onnx", "").string();
        break;
      case 2:
        folder_.write("runs/old one/campaign.db", "");
        config.teacher.from = (folder_.path() / "runs/old one").string();
        break;
      case 3:
        config.teacher.models = {folder_.write("a, b.onnx", "").string(), folder_.write("c.pt", "").string()};
        break;
      default:  // Finch's own
        config.teacher.enabled = true;
        config.train.distillation = one_of({"soft_targets", "hint", "attention", "relational"});
        config.train.teacher_view = one_of({"cached", "batch"});
    }
    config.teacher.epochs = real(0.01, 10'000);
    config.teacher.learning_rate = real(1e-7, 10);
    config.train.mode = config.train.runs_teacher() ? "standalone" : one_of({"standalone", "supernet"});
    config.train.feature_weight = real(0, 1e6);
    config.train.class_weights = one_of({"none", "balanced"});
    config.train.randaugment_operations = whole(0, 16);
    config.train.randaugment_magnitude = real(0, 30);
    config.train.random_erasing = real(0, 1);
    config.train.mixup = real(0, 100);
    config.train.cutmix = real(0, 100);
    if (config.train.mode == "standalone" && config.teacher.is_trained() && !config.train.runs_teacher() && flag()) {
      config.train.trainer = "command";
      config.train.command = {one_of({"python3", "./train \"1\""}), one_of(names)};
      config.train.timeout_minutes = real(0.01, 100'000);
    }
    config.train.epochs = real(0.001, 10'000);
    config.train.supernet_epochs = real(0.001, 10'000);
    config.train.supernet_sampling = one_of({"sandwich", "spread"});
    config.train.finalist_epochs = real(0, 10'000);
    config.train.batch_size = whole(2, 65'536);
    config.train.learning_rate = real(1e-7, 10);
    config.train.weight_decay = real(0, 1);
    config.train.label_smoothing = real(0, 0.9);
    config.train.temperature = real(0.1, 100);
    config.train.distillation_weight = real(0, 1);
    config.train.flip = flag();
    config.train.crop_padding = whole(0, 64);
    config.quantize.calibration =
        std::array{"minmax", "percentile", "entropy", "mse"}[static_cast<std::size_t>(whole(0, 3))];
    config.quantize.calibration_images = whole(1, 1'000'000);
    config.quantize.qat_drop = real(0, 1);
    config.quantize.qat_epochs = real(0, 10'000);
    config.quantize.mixed_precision = whole(0, 1) == 1;
    config.train.inherit = flag();
    config.train.threads = whole(0, 1024);
    config.finalists.count = whole(1, 1000);
    const bool own_trainer = config.train.trainer == "command";
    if (!own_trainer && flag()) {
      PipelineConfig& pipeline = config.finalists.pipeline;
      pipeline.steps = {{"prune", real(0.01, 0.99)}, {"distill", real(0.001, 10'000)}, {"quantize", 0}};
      pipeline.max_accuracy_drop = real(0, 1);
      pipeline.epochs = real(0, 10'000);
      pipeline.gain = one_of({"", "latency", "memory", "energy", "size", "download"});
    } else {
      config.finalists.seeds = whole(1, 100);
    }
    if (!own_trainer && flag()) config.init.from = folder_.write("weights, of 1.safetensors", "").string();
    config.deploy.provider = one_of({"", "cpu", "xnnpack"});
    config.deploy.precision = one_of({"", "fp32", "int8"});
    config.deploy.threads = whole(0, 1024);
    config.deploy.batch = whole(1, 4096);
    config.measure.search_tier = one_of({"quick", "screen", "certify"});
    config.measure.finalist_tier = one_of({"quick", "screen", "certify", "stability"});
    config.measure.rate_hz = maybe(0.001, 100'000.0).value_or(0);
    config.devices.clear();
    for (std::int64_t count = whole(1, 3); count > 0; --count)
      config.devices.push_back({"device-" + std::to_string(count),
                                one_of({"local", "raspberry-pi-5"}),
                                {},
                                one_of({"", "cpu", "xnnpack"}),
                                whole(0, 1024),
                                maybe(1e-6, 1e6)});
    const std::string text = resolved_toml(config);
    expect_same(parse(text), config);
    if (HasFailure()) FAIL() << "round " << round << ":\n" << text;
  }
}

TEST_F(CampaignFile, TheExamplesAreRead) {
  int examples = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(FINCH_SOURCE_FOLDER) / "examples")) {
    if (entry.path().extension() != ".toml") continue;
    ++examples;
    auto text = read_text(entry.path());
    ASSERT_TRUE(text) << text.error().message;
    // The data set may not be installed here; that it is asked for is all that the file can answer for.
    const std::string packaged = "\"/usr/share/datasets/fashion-mnist\"";
    const std::size_t at = text->find(packaged);
    if (at != std::string::npos) text->replace(at, packaged.size(), "\"" + (folder_.path() / "data").string() + "\"");
    auto config = parse_campaign(*text, entry.path());
    ASSERT_TRUE(config) << config.error().message;
    const auto profile = load_profile(
        (std::filesystem::path(FINCH_SOURCE_FOLDER) / "profiles" / (config->devices[0].profile + ".toml")));
    ASSERT_TRUE(profile) << profile.error().message;
    resolve(*config, {*profile});
    EXPECT_FALSE(config->deploy.precision.empty());
  }
  EXPECT_GT(examples, 0);
}

}  // namespace
}  // namespace finch::controller
