// What the command line says of a compression, and its travel into the run's log and back.
#include "controller/compression/compression_config.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <format>
#include <fstream>
#include <nlohmann/json.hpp>

#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/event_store.hpp"
#include "controller/campaign/run_folder.hpp"
#include "protocol/job.pb.h"

namespace finch::controller {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CompressionConfigTest : public testing::Test {
 protected:
  CompressionConfigTest()
      : folder_(std::filesystem::temp_directory_path() / std::format("compression-config-test-{}", ::getpid())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "run" / "models");
  }
  ~CompressionConfigTest() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  const std::filesystem::path folder_;
};

TEST_F(CompressionConfigTest, StepsHaveAmounts) {
  const auto steps = parse_steps("distill=2.5,prune,quantize,cluster=3");
  ASSERT_TRUE(steps) << steps.error().message;
  std::vector<std::string> texts;
  for (const StepConfig& step : *steps) texts.push_back(step.text());
  EXPECT_THAT(texts, ElementsAre("distill=2.5", "prune=0.3", "quantize", "cluster=3"));
}

TEST_F(CompressionConfigTest, WrongStepsAreNamed) {
  EXPECT_THAT(parse_steps("prun").error().message, HasSubstr("did you mean 'prune'?"));
  EXPECT_THAT(parse_steps("prune=1.5").error().message, HasSubstr("0.01 to 0.99"));
  EXPECT_THAT(parse_steps("prune=x").error().message, HasSubstr("'prune=x'"));
  EXPECT_THAT(parse_steps("prune=nan").error().message, HasSubstr("'prune=nan'"));
  EXPECT_THAT(parse_steps("quantize=8").error().message, HasSubstr("has no amount"));
  EXPECT_FALSE(parse_steps(""));
  EXPECT_FALSE(parse_steps("prune,,quantize"));
  EXPECT_EQ(parse_steps("prune,").error().exit_code, ExitCode::usage);
}

TEST_F(CompressionConfigTest, ComesBackFromTheLogAsItWas) {
  CompressionConfig config;
  config.model = "/models/a.onnx";
  config.origin = "a.onnx";
  config.genotype = {0, 2, 1};
  config.mean = {0.5, 0.25, 0.1};
  config.stddev = {1, 2, 3};
  config.data = {.format = "idx", .path = "/data", .validation_samples = 77};
  config.pipeline.steps = parse_steps("prune=0.25,quantize").value();
  config.pipeline.gain = "size";
  config.shape = "image=1,3,32,32";
  config.quantize = {
      .calibration = "entropy", .calibration_images = 7, .qat_drop = 0.1, .qat_epochs = 3, .mixed_precision = false};
  config.pipeline.max_accuracy_drop = 0.0125;
  EXPECT_EQ(to_json(compression_config(to_json(config))), to_json(config));
  EXPECT_EQ(compression_config(to_json(config)).quantize.calibration, "entropy");
  EXPECT_EQ(compression_config(to_json(config)).shape, "image=1,3,32,32");
}

TEST_F(CompressionConfigTest, TellsWhatEachStepIsFor) {
  CompressionConfig config;
  EXPECT_EQ(config.pipeline.gain_of({"distill", 1}), "accuracy");
  EXPECT_EQ(config.pipeline.gain_of({"prune", 0.5}), "latency");
  EXPECT_EQ(config.pipeline.gain_of({"cluster", 4}), "download");
  config.pipeline.gain = "memory";
  EXPECT_EQ(config.pipeline.gain_of({"cluster", 4}), "memory");
  EXPECT_EQ(config.pipeline.gain_of({"distill", 1}), "accuracy");
}

TEST_F(CompressionConfigTest, FindsModels) {
  CompressionConfig config;
  const std::string file = write("own.onnx", "");
  ASSERT_TRUE(name_model(file, config));
  EXPECT_EQ(config.model, file);
  std::ofstream(folder_ / "run" / "models" / "c012-fp32.onnx");
  ASSERT_TRUE(name_model((folder_ / "run").string() + ":c012", config));
  EXPECT_EQ(config.model, folder_ / "run" / "models" / "c012-fp32.onnx");
  EXPECT_THAT(name_model((folder_ / "run").string() + ":c013", config).error().message, HasSubstr("c013-fp32.onnx"));
  EXPECT_EQ(name_model("nowhere.onnx", config).error().exit_code, ExitCode::usage);
}

TEST_F(CompressionConfigTest, JudgesACampaignsModelByTheImagesThatItHasSetAside) {
  std::ofstream(folder_ / "run" / "models" / "c012-fp32.onnx");
  protocol::DataFacts facts;
  facts.set_validation_samples(123);
  ASSERT_TRUE(EventStore::open(folder_ / "run" / kCampaignDatabase).and_then([&](EventStore store) {
    return store.append("data", 1, {{"result", to_json(facts)}});
  }));
  CompressionConfig config;
  EXPECT_LT(config.data.validation_samples, 0);  // not known
  ASSERT_TRUE(name_model((folder_ / "run").string() + ":c012", config));
  EXPECT_EQ(config.data.validation_samples, 123);
}

TEST_F(CompressionConfigTest, ReadsADescription) {
  write("weights", "");
  CompressionConfig config;
  const auto read = name_model(write("net.toml",
                                     "[model]\nspace = \"shufflenet\"\ngenotype = \"0,1,2\"\n"
                                     "weights = \"weights\"\n"),
                               config);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(config.space, "shufflenet");
  EXPECT_THAT(config.genotype, ElementsAre(0, 1, 2));
  EXPECT_EQ(config.model, folder_ / "weights");
  CompressionConfig wrong;
  EXPECT_THAT(name_model(write("bad.toml", "[model]\ngenotype = \"0\"\nweight = \"weights\"\n"), wrong).error().message,
              HasSubstr("did you mean 'model.weights'?"));
}

TEST_F(CompressionConfigTest, TellsTheFormatOfDataByItsFiles) {
  EXPECT_EQ(name_data(folder_.string())->format, "folder");
  write("train-images-idx3-ubyte.gz", "");
  EXPECT_EQ(name_data(folder_.string())->format, "idx");
  EXPECT_EQ(name_data("folder:" + folder_.string())->format, "folder");
  EXPECT_THAT(name_data("idx:/nowhere").error().message, HasSubstr("/nowhere"));
  std::filesystem::create_directories(folder_ / "a:b");
  EXPECT_EQ(name_data((folder_ / "a:b").string())->path, folder_ / "a:b");
  write("a:b/batches.meta.txt", "");
  EXPECT_EQ(name_data((folder_ / "a:b").string())->format, "cifar10");
}

}  // namespace
}  // namespace finch::controller
