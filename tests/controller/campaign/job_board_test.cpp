#include "controller/campaign/job_board.hpp"

#include <gmock/gmock.h>

#include <functional>

#include "protocol/artifact_store.hpp"
#include "tests/controller/campaign/memory_folder.hpp"

namespace finch::controller {
namespace {

JobRequest training() {
  JobRequest request{.job = {}, .target = "", .priority = 1, .depends_on = "data", .description = "training"};
  auto& job = *request.job.mutable_train_candidate();
  job.mutable_data()->set_path("/data/one");
  for (const int choice : {0, 1, 2}) job.add_genotype(choice);
  job.mutable_recipe()->set_epochs(1);
  job.mutable_soft_targets()->set_sha256("teacher");
  job.mutable_parent_checkpoint()->set_sha256("parent");
  return request;
}

JobRequest measuring() {
  JobRequest request{.job = {}, .target = "pi", .priority = 1, .depends_on = "state", .description = "measuring"};
  auto& job = *request.job.mutable_measure();
  job.mutable_model()->set_sha256("model");
  job.mutable_deploy()->set_precision("fp32");
  job.set_tier("screen");
  job.set_device("pi");
  return request;
}

std::string changed(JobRequest request, const std::function<void(JobRequest&)>& change) {
  change(request);
  return job_key(request);
}

TEST(JobKeyTest, DoesNotDependOnWhereTheDataLieNorOnHowTheJobIsQueued) {
  EXPECT_EQ(job_key(training()), changed(training(), [](JobRequest& request) {
              request.job.mutable_train_candidate()->mutable_data()->set_path("/elsewhere");
              request.priority = 99;
              request.description = "training candidate 7";
            }));
}

TEST(JobKeyTest, DependsOnAllThatAnAccuracyDependsOn) {
  const std::string key = job_key(training());
  const auto job = [](JobRequest& request) { return request.job.mutable_train_candidate(); };
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->set_genotype(1, 0); }));
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->mutable_recipe()->set_epochs(2); }));
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->mutable_recipe()->set_seed(2); }));
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->mutable_data()->set_validation_samples(9); }));
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->mutable_soft_targets()->set_sha256("other"); }));
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->clear_parent_checkpoint(); }));
  EXPECT_NE(key, changed(training(), [&](JobRequest& r) { job(r)->add_precisions("int8"); }));
  EXPECT_NE(key, changed(training(), [](JobRequest& r) { r.depends_on = "other data"; }));
}

TEST(JobKeyTest, DependsOnAllThatAMeasurementDependsOn) {
  const std::string key = job_key(measuring());
  const auto job = [](JobRequest& request) { return request.job.mutable_measure(); };
  EXPECT_NE(key, changed(measuring(), [&](JobRequest& r) { job(r)->mutable_model()->set_sha256("other"); }));
  EXPECT_NE(key, changed(measuring(), [&](JobRequest& r) { job(r)->mutable_deploy()->set_precision("int8"); }));
  EXPECT_NE(key, changed(measuring(), [&](JobRequest& r) { job(r)->mutable_deploy()->set_threads(2); }));
  EXPECT_NE(key, changed(measuring(), [&](JobRequest& r) { job(r)->set_tier("certify"); }));
  EXPECT_NE(key, changed(measuring(), [&](JobRequest& r) { job(r)->set_device("other"); }));
  EXPECT_NE(key, changed(measuring(), [](JobRequest& r) { r.depends_on = "other state"; }));
}

class JobBoardTest : public testing::Test {
 protected:
  // Completes the job that is queued first.
  void serve(bool failed = false) {
    const auto queue = store_.queued().value();
    ASSERT_FALSE(queue.empty());
    const auto token = store_.lease(queue.front().key, "worker")->value();
    protocol::JobResult result;
    if (failed) {
      result.mutable_failure()->set_message("it broke");
    } else {
      result.mutable_measurement()->set_latency_median_ms(1.5);
    }
    ASSERT_TRUE(store_.complete(queue.front().key, token, result.SerializeAsString(), failed).value());
  }

  MemoryFolder folder_;
  FarmStore store_ = FarmStore::open(folder_.path() / "farm.db").value();
};

TEST_F(JobBoardTest, AResultWhoseFileIsDamagedIsNotReused) {
  protocol::ArtifactStore artifacts(folder_.path() / "artifacts");
  const std::string hash = artifacts.add_bytes("weights").value();
  JobBoard first(store_, "first", folder_.path() / "artifacts");
  EXPECT_FALSE(first.result_of(training())->has_value());
  const auto token = store_.lease(store_.queued()->front().key, "worker")->value();
  protocol::JobResult result;
  result.mutable_trained_candidate()->mutable_checkpoint()->set_sha256(hash);
  ASSERT_TRUE(store_.complete(job_key(training()), token, result.SerializeAsString(), false).value());
  JobBoard second(store_, "second", folder_.path() / "artifacts");
  EXPECT_TRUE(second.result_of(training())->value().reused);

  std::filesystem::resize_file(artifacts.path_of(hash), 3);
  JobBoard third(store_, "third", folder_.path() / "artifacts");
  EXPECT_FALSE(third.result_of(training())->has_value());
  EXPECT_EQ(store_.queued()->size(), 1u);
  EXPECT_FALSE(artifacts.has(hash));  // out of the way of the one that comes
}

TEST_F(JobBoardTest, GivesTheResultWhenItIsThere) {
  JobBoard board(store_, "campaign", folder_.path() / "artifacts");
  EXPECT_FALSE(board.result_of(measuring())->has_value());
  EXPECT_FALSE(board.result_of(measuring())->has_value());
  EXPECT_EQ(store_.queued()->size(), 1u);
  serve();
  ASSERT_TRUE(board.refresh());
  const auto outcome = board.result_of(measuring()).value();
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->result.measurement().latency_median_ms(), 1.5);
  EXPECT_FALSE(outcome->reused);
}

TEST_F(JobBoardTest, SaysWhatAnotherCampaignHadRecorded) {
  JobBoard first(store_, "first", folder_.path() / "artifacts");
  ASSERT_TRUE(first.result_of(measuring()));
  serve();
  JobBoard second(store_, "second", folder_.path() / "artifacts");
  EXPECT_TRUE(second.result_of(measuring()).value()->reused);
  // The first itself, resumed before it took the result in.
  JobBoard resumed(store_, "first", folder_.path() / "artifacts");
  EXPECT_FALSE(resumed.result_of(measuring()).value()->reused);
}

TEST_F(JobBoardTest, DoesNotCallReusedWhatRanWhenItWasAskedFor) {
  JobBoard first(store_, "first", folder_.path() / "artifacts");
  ASSERT_TRUE(first.result_of(measuring()));
  JobBoard second(store_, "second", folder_.path() / "artifacts");
  EXPECT_FALSE(second.result_of(measuring())->has_value());
  serve();
  ASSERT_TRUE(second.refresh());
  EXPECT_FALSE(second.result_of(measuring()).value()->reused);
}

TEST_F(JobBoardTest, GivesAFailureAndTriesAgainOnlyAfterAResume) {
  JobBoard board(store_, "campaign", folder_.path() / "artifacts");
  ASSERT_TRUE(board.result_of(measuring()));
  serve(true);
  ASSERT_TRUE(board.refresh());
  EXPECT_EQ(board.result_of(measuring()).value()->result.failure().message(), "it broke");
  EXPECT_TRUE(store_.queued()->empty());
  JobBoard resumed(store_, "campaign", folder_.path() / "artifacts");
  EXPECT_FALSE(resumed.result_of(measuring())->has_value());
  EXPECT_EQ(store_.queued()->size(), 1u);
}

TEST_F(JobBoardTest, ChoosesTheBoardWithLeastToDoAndMovesWhatWaits) {
  JobBoard board(store_, "campaign", folder_.path() / "artifacts");
  std::vector<JobRequest> choices;
  for (const char* name : {"pi-1", "pi-2"}) {
    choices.push_back(measuring());
    choices.back().target = name;
    choices.back().job.mutable_measure()->set_device(name);
    protocol::DeviceDescription device;
    device.set_name(name);
    ASSERT_TRUE(store_.admit(name));
    ASSERT_TRUE(store_.device_seen(device, true));
  }
  ASSERT_TRUE(store_.submit({.key = "busy", .campaign = "other", .target = "pi-1", .job = ""}));
  EXPECT_EQ(board.choose(choices).value(), 1U);
  ASSERT_TRUE(board.result_of(choices[1]));
  EXPECT_EQ(board.choose(choices).value(), 1U) << "it stays where it waits";
  // Its board is busy and the other free: it moves.
  ASSERT_TRUE(store_.lease(job_key(choices[1]), "pi-2"));
  ASSERT_TRUE(board.refresh());
  EXPECT_EQ(board.choose(choices).value(), 1U) << "what runs stays";
  ASSERT_TRUE(store_.requeue(job_key(choices[1]), store_.find(job_key(choices[1]))->value().token));
  ASSERT_TRUE(board.refresh());
  for (const char* key : {"a", "b"})
    ASSERT_TRUE(store_.submit({.key = key, .campaign = "c", .target = "pi-2", .job = ""}));
  EXPECT_EQ(board.choose(choices).value(), 0U);
  EXPECT_EQ(store_.find(job_key(choices[1]))->value().state, JobState::cancelled);
  // Lost boards are given nothing.
  protocol::DeviceDescription lost;
  lost.set_name("pi-1");
  ASSERT_TRUE(store_.device_seen(lost, false));
  EXPECT_EQ(board.choose(choices).value(), 1U);
}

TEST_F(JobBoardTest, TakesItsJobsBack) {
  JobBoard board(store_, "campaign", folder_.path() / "artifacts");
  ASSERT_TRUE(board.result_of(measuring()));
  ASSERT_TRUE(board.result_of(training()));
  EXPECT_EQ(store_.queued()->size(), 2u);
  board.withdraw_all();
  EXPECT_TRUE(store_.queued()->empty());
}

}  // namespace
}  // namespace finch::controller
