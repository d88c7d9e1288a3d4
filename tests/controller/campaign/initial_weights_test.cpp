// Campaigns whose weights begin elsewhere than at random.
#include <gmock/gmock.h>

#include <fstream>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::Contains;
using testing::HasSubstr;

class InitialWeightsTest : public testing::Test, protected CampaignFixture {
 protected:
  CampaignConfig from(const std::string& name, const std::string& train = "") const {
    return config(kSmall + std::string("[init]\nfrom = \"") + folder(name).string() + "\"\n" + train);
  }
  std::string weights_of(const std::string& file) const {
    return protocol::sha256_hex("initial weights of " + protocol::sha256_hex(file));
  }
  void write(const std::string& name, const std::string& content) const { std::ofstream(folder(name)) << content; }
  static constexpr const char* kSupernet = "[train]\nmode = \"supernet\"\n";
};

TEST_F(InitialWeightsTest, CandidatesBeginWithThemAndTheReportSaysWhatWasLeftOut) {
  write("weights.safetensors", "weights");
  const CampaignResult result = finish("run", from("weights.safetensors"));
  EXPECT_EQ(farm.count(Job::kReadWeights), 1u);
  std::size_t begun = 0;
  for (const Job& job : farm.served) {
    if (!job.has_train_candidate() || !job.train_candidate().has_initial_weights()) continue;
    ++begun;
    EXPECT_EQ(job.train_candidate().initial_weights().sha256(), weights_of("weights"));
  }
  EXPECT_EQ(begun, 8u);  // finalists go on from their own
  EXPECT_THAT(result.notes, Contains(HasSubstr("12 tensors of " + folder("weights.safetensors").string())));
  EXPECT_THAT(result.notes, Contains(HasSubstr("left out: the head is a new one: classifier.1.weight")));
}

TEST_F(InitialWeightsTest, ASupernetBeginsWithThem) {
  write("weights.onnx", "weights");
  finish("run", from("weights.onnx", kSupernet));
  for (const Job& job : farm.served) {
    if (job.has_train_supernet()) EXPECT_EQ(job.train_supernet().initial_weights().sha256(), weights_of("weights"));
    if (job.has_train_candidate()) EXPECT_FALSE(job.train_candidate().has_initial_weights());
  }
}

TEST_F(InitialWeightsTest, ACampaignStandsForItsSupernet) {
  finish("before", config(kSmall + std::string(kSupernet)));
  finish("run", from("before", std::string(kSupernet) + "supernet_epochs = 1\n"));
  EXPECT_EQ(farm.count(Job::kTrainSupernet), 2u);
  for (const Job& job : farm.served) {
    if (job.has_read_weights()) {
      EXPECT_EQ(job.read_weights().file().sha256(), protocol::sha256_hex("supernet after 4"));
    }
  }
}

TEST_F(InitialWeightsTest, OtherWeightsAreOtherResults) {
  write("a.safetensors", "a");
  write("b.safetensors", "b");
  finish("first", from("a.safetensors"));
  const std::size_t trained = farm.count(Job::kTrainCandidate);
  finish("again", from("a.safetensors"));
  EXPECT_EQ(farm.count(Job::kTrainCandidate), trained);
  finish("other", from("b.safetensors"));
  EXPECT_GE(farm.count(Job::kTrainCandidate), trained + 8);
}

TEST_F(InitialWeightsTest, ACampaignWithoutASupernetIsRefused) {
  finish("before", config());
  auto run = create("run", from("before"));
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_THAT(driven.error().message, HasSubstr("this campaign has no supernet"));
  EXPECT_EQ(driven.error().exit_code, ExitCode::usage);
}

TEST_F(InitialWeightsTest, AFileThatFitsNothingIsRefused) {
  write("weights.safetensors", "weights");
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_read_weights()) result.mutable_failure()->set_message("none of its 3 tensors fits");
  };
  auto run = create("run", from("weights.safetensors"));
  EXPECT_EQ(drive(*run).error().message, "init.from: none of its 3 tensors fits");
}

}  // namespace
}  // namespace finch::controller
