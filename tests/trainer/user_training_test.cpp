// Programs of the user's, good ones and all the bad ones: each ends in a model or in a reason.
#include "trainer/user_training.hpp"

#include <gmock/gmock.h>
#include <torch/torch.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "search/search_space.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/export.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class UserTrainingTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ::setpgid(0, 0);  // as a job's process: what a program leaves running is found by the group
    network_ = new std::string(network(3, 1));
  }
  static void TearDownTestSuite() { delete network_; }

  static std::string network(std::int64_t classes, std::int64_t channels) {
    const auto space =
        search::make_search_space({.name = "mobilenet", .image = {channels, 16, 16}, .classes = classes});
    torch::manual_seed(1);
    NetworkModule module((*space)->decode((*space)->smallest()).value(),
                         std::vector<float>(static_cast<std::size_t>(channels), 0.5F),
                         std::vector<float>(static_cast<std::size_t>(channels), 0.25F));
    const std::vector<std::string> fp32 = {"fp32"};
    ImageSplit none{.channels = channels, .height = 16, .width = 16, .pixels = {}, .labels = {}};
    return export_models(module, none, {}, {.space = "mobilenet", .genotype = "", .campaign = "", .class_names = {}},
                         fp32, [](double) {})
        ->models.front()
        .bytes;
  }

  // A shell script in place of the program; $1 is the folder of files.
  std::expected<UserModel, Error> train(const std::string& script, double timeout_seconds = 20) {
    std::ofstream(folder_.path() / "train.sh") << script;
    const UserTask task{.space = "mobilenet",
                        .genotype = "0,1",
                        .data = "/data",
                        .image = {1, 16, 16},
                        .class_names = {"a", "b", "c"},
                        .epochs = 2.5,
                        .seed = 7,
                        .finalist = true};
    return train_with_program(
        task, *network_, parent_,
        {.command = {"sh", "train.sh"}, .folder = folder_.path(), .log = {}, .timeout_seconds = timeout_seconds},
        files_, [](double) {});
  }
  std::string reason(const std::string& script, double timeout_seconds = 20) {
    const auto model = train(script, timeout_seconds);
    std::filesystem::remove_all(files_);
    return model ? "no reason: it trained" : model.error().message;
  }

  static constexpr const char* kGood =
      "cp $1/network.onnx $1/model.onnx; echo '{\"top1\": 0.75, \"samples\": 8}' >$1/metrics.json\n";

  const TemporaryFolder folder_;
  const std::filesystem::path files_ = folder_.path() / "files";
  std::optional<std::filesystem::path> parent_;
  inline static std::string* network_ = nullptr;
};

TEST_F(UserTrainingTest, GivesFilesAndTakesTheModel) {
  std::ofstream(folder_.path() / "before") << "weights";
  parent_ = folder_.path() / "before";
  const auto model =
      train(std::string(kGood) +
            "cp $1/job.json job-as-seen; cat $1/parent.onnx >parent-as-seen; cp $1/network.onnx $1/model-int8.onnx\n"
            "echo '{\"top1\": 0.75, \"samples\": 8, \"confusion\": [[0, 0, 6], [1, 2, 2]]}' >$1/metrics.json\n");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->fp32, *network_);
  EXPECT_EQ(model->int8, *network_);
  EXPECT_EQ(model->metrics.top1, 0.75);
  EXPECT_EQ(model->metrics.samples, 8);
  ASSERT_EQ(model->metrics.confusion.size(), 2U);
  EXPECT_EQ(model->metrics.confusion[1].prediction, 2);
  EXPECT_GT(model->seconds, 0);
  std::stringstream job, parent;
  job << std::ifstream(folder_.path() / "job-as-seen").rdbuf();
  parent << std::ifstream(folder_.path() / "parent-as-seen").rdbuf();
  EXPECT_EQ(parent.str(), "weights");
  for (const char* part :
       {"\"stage\": \"finalist\"", "\"genotype\": \"0,1\"", "\"epochs\": 2.5", "\"seed\": 7", "\"data\": \"/data\""})
    EXPECT_THAT(job.str(), HasSubstr(part));
}

TEST_F(UserTrainingTest, WhatGoesWrongHasAReason) {
  EXPECT_THAT(reason("echo fine; echo 'KeyError: x' >&2; exit 3"),
              HasSubstr("exit status 3; its last line: KeyError: x"));
  EXPECT_THAT(reason("kill -SEGV $$"), HasSubstr("ended by signal 11"));
  EXPECT_THAT(reason("true"), HasSubstr("metrics.json: the program did not write it"));
  EXPECT_THAT(reason("echo '{\"top1\": NaN, \"samples\": 8}' >$1/metrics.json"),
              HasSubstr("metrics.json: expected {\"top1\""));
  EXPECT_THAT(reason("echo '{\"top1\": 1e999, \"samples\": 8}' >$1/metrics.json"), HasSubstr("metrics.json: "));
  EXPECT_THAT(reason("echo '{\"top1\": 75, \"samples\": 8}' >$1/metrics.json"),
              HasSubstr("top1 is 75, outside 0 .. 1"));
  EXPECT_THAT(reason("echo '{\"top1\": 0.5, \"samples\": 0}' >$1/metrics.json"), HasSubstr("samples is 0"));
  EXPECT_THAT(reason("echo '{\"top1\": 0.5, \"samples\": 8, \"confusion\": [[0, 0, 8]]}' >$1/metrics.json"),
              HasSubstr("confusion has 8 of 8 images right, which is not top1 = 0.5 of 8"));
  EXPECT_THAT(reason(std::string(kGood) + "rm $1/model.onnx"), HasSubstr("model.onnx: the program did not write it"));
  EXPECT_THAT(reason(std::string(kGood) + "echo text >$1/model.onnx"), HasSubstr("model.onnx: it is no ONNX model"));
  EXPECT_THAT(reason(std::string(kGood) + "head -c 2000 $1/network.onnx >$1/model.onnx"), HasSubstr("model.onnx: "));
}

TEST_F(UserTrainingTest, AModelOfOtherShapesOrWithoutNumbersIsRefused) {
  std::ofstream(folder_.path() / "four-classes") << network(4, 1);
  std::ofstream(folder_.path() / "colour") << network(3, 3);
  EXPECT_THAT(reason(std::string(kGood) + "cp four-classes $1/model.onnx"),
              HasSubstr("it has 'logits' [?, 4] where float32 'logits' [N, 3] is expected"));
  EXPECT_THAT(reason(std::string(kGood) + "cp colour $1/model.onnx"),
              HasSubstr("where float32 'image' [N, 1, 16, 16] is expected"));
  std::string broken = *network_;
  const float bias = std::numeric_limits<float>::quiet_NaN();
  // The last bytes of the initializers: raw floats of the classifier's bias.
  const std::size_t name = broken.rfind(".bias");
  ASSERT_NE(name, std::string::npos);
  const std::size_t raw = broken.find('\x4a', name);  // field 9, raw_data
  ASSERT_NE(raw, std::string::npos);
  std::memcpy(broken.data() + raw + 2, &bias, sizeof bias);
  std::ofstream(folder_.path() / "nan") << broken;
  EXPECT_THAT(reason(std::string(kGood) + "cp nan $1/model.onnx"), HasSubstr("are not finite"));
}

TEST_F(UserTrainingTest, AProgramThatCannotBeStartedIsNamed) {
  const auto model = train_with_program({}, "", {}, {.command = {"./nothing"}, .folder = folder_.path(), .log = {}},
                                        files_, [](double) {});
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr("'./nothing' cannot be started in"));
}

TEST_F(UserTrainingTest, OutOfTimeItAndAllThatItStartedIsKilled) {
  EXPECT_THAT(reason("sleep 600 & echo $! >sleeper; echo epoch 1; sleep 600", 0.5),
              HasSubstr("limit of train.timeout_minutes; its last line: epoch 1"));
  pid_t sleeper = 0;
  std::ifstream(folder_.path() / "sleeper") >> sleeper;
  ASSERT_GT(sleeper, 0);
  char state = 'Z';
  std::string text;
  if (std::ifstream stat("/proc/" + std::to_string(sleeper) + "/stat"); std::getline(stat, text))
    state = text[text.rfind(") ") + 2];
  EXPECT_EQ(state, 'Z') << text;  // dead, whether its new parent has looked or not
}

TEST_F(UserTrainingTest, WhatAGoodProgramLeavesRunningIsKilledToo) {
  ASSERT_TRUE(train(std::string(kGood) + "sleep 600 & echo $! >sleeper"));
  pid_t sleeper = 0;
  std::ifstream(folder_.path() / "sleeper") >> sleeper;
  std::string text;
  std::ifstream stat("/proc/" + std::to_string(sleeper) + "/stat");
  EXPECT_TRUE(!std::getline(stat, text) || text[text.rfind(") ") + 2] == 'Z') << text;
}

}  // namespace
}  // namespace finch::trainer
