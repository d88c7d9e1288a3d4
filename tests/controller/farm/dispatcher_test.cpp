#include "controller/farm/dispatcher.hpp"

#include <gmock/gmock.h>

#include <deque>

#include "protocol/artifact_store.hpp"
#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using namespace std::chrono_literals;
using protocol::ToWorker;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DispatcherTest : public testing::Test {
 protected:
  void SetUp() override { start(); }

  // A new server on the same store; what was sent before is forgotten.
  void start(std::set<std::string> local_workers = {}) {
    sent_.clear();
    dispatcher_.emplace(
        store_,
        Dispatcher::Links{
            .send = [this](const std::string& worker, const ToWorker& message) { sent_[worker].push_back(message); },
            .disconnect = [this](const std::string& worker, const std::string& why) { disconnected_[worker] = why; },
            .has_artifact = [this](const std::string& sha256) { return artifacts_.contains(sha256); },
            .log = [this](const std::string& line) { log_.push_back(line); }},
        std::move(local_workers));
    dispatcher_->begin(now_);
  }

  void pass(std::chrono::milliseconds time) {
    now_ += time;
    dispatcher_->tick(now_);
  }

  void submit(const std::string& key, const std::string& target = "", bool evaluate = false, int priority = 0) {
    protocol::Job job;
    if (target.empty()) {
      job.mutable_inspect_data();
    } else if (evaluate) {
      job.mutable_evaluate()->set_device(target);
    } else {
      job.mutable_measure()->set_device(target);
    }
    ASSERT_TRUE(campaign_.submit({key, "campaign", target, priority, job.SerializeAsString()}));
    pass(50ms);
  }

  void connect(const std::string& name, protocol::Role role, const std::string& host,
               const std::vector<protocol::LeaseRef>& held = {}) {
    protocol::Hello hello;
    hello.set_role(role);
    hello.set_host(host);
    for (const auto& lease : held) *hello.add_held() = lease;
    dispatcher_->connected(now_, name, hello);
  }
  void connect_agent(const std::string& name, const std::vector<protocol::LeaseRef>& held = {}) {
    connect(name, protocol::AGENT, "pc", held);
  }
  void connect_trainer(const std::string& name, const std::vector<protocol::LeaseRef>& held = {}) {
    connect(name, protocol::TRAINER, "pc", held);
  }

  // The next message to this worker; an empty one when there is none.
  ToWorker next(const std::string& worker) {
    if (sent_[worker].empty()) return {};
    auto message = sent_[worker].front();
    sent_[worker].pop_front();
    return message;
  }
  protocol::LeaseRef next_lease(const std::string& worker) {
    const ToWorker message = next(worker);
    EXPECT_TRUE(message.has_lease()) << worker << " got: " << message.ShortDebugString();
    return message.lease().lease();
  }
  bool next_ack(const std::string& worker) {
    const ToWorker message = next(worker);
    EXPECT_TRUE(message.has_result_ack()) << worker << " got: " << message.ShortDebugString();
    return message.result_ack().accepted();
  }
  void answer_pause(const std::string& worker) {
    const ToWorker message = next(worker);
    ASSERT_TRUE(message.has_pause()) << message.ShortDebugString();
    protocol::Paused paused;
    paused.set_sequence(message.pause().sequence());
    dispatcher_->take_paused(now_, worker, paused);
  }

  void finish(const std::string& worker, const protocol::LeaseRef& lease, const protocol::JobResult& result) {
    protocol::ResultReport report;
    *report.mutable_lease() = lease;
    *report.mutable_result() = result;
    dispatcher_->take_result(now_, worker, report);
  }
  static protocol::JobResult success() {
    protocol::JobResult result;
    result.mutable_data_facts()->set_channels(1);
    return result;
  }
  static protocol::JobResult failure(const std::string& why, bool retryable) {
    protocol::JobResult result;
    result.mutable_failure()->set_message(why);
    result.mutable_failure()->set_retryable(retryable);
    return result;
  }
  JobStatus status(const std::string& key) { return campaign_.find(key).value().value(); }
  std::string failure_of(const std::string& key) {
    protocol::JobResult result;
    result.ParseFromString(status(key).result);
    return result.failure().message();
  }

  TemporaryFolder folder_;
  FarmStore store_ = FarmStore::open(folder_.path() / "farm.db").value();
  FarmStore campaign_ = FarmStore::open(folder_.path() / "farm.db").value();
  std::map<std::string, std::deque<ToWorker>> sent_;
  std::map<std::string, std::string> disconnected_;
  std::set<std::string> artifacts_;
  std::vector<std::string> log_;
  Dispatcher::Time now_{1h};
  std::optional<Dispatcher> dispatcher_;
};

TEST_F(DispatcherTest, LeasesAJobAndRecordsItsResultOnce) {
  connect_trainer("t");
  submit("a");
  const auto lease = next_lease("t");
  EXPECT_EQ(lease.job_key(), "a");
  EXPECT_EQ(status("a").worker, "t");
  finish("t", lease, success());
  EXPECT_TRUE(next_ack("t"));
  EXPECT_EQ(status("a").state, JobState::done);
  finish("t", lease, success());
  EXPECT_FALSE(next_ack("t"));
}

TEST_F(DispatcherTest, OneWorkerHasOneJobAtATime) {
  connect_trainer("t");
  submit("a");
  submit("b");
  const auto first = next_lease("t");
  EXPECT_THAT(sent_["t"], IsEmpty());
  finish("t", first, success());
  EXPECT_TRUE(next_ack("t"));
  EXPECT_EQ(next_lease("t").job_key(), "b");
}

TEST_F(DispatcherTest, RetriesWhatMaySucceedAndFailsWhatCannot) {
  connect_trainer("t");
  submit("a");
  for (int attempt = 1; attempt <= 4; ++attempt) {
    EXPECT_NE(status("a").state, JobState::failed) << attempt;
    finish("t", next_lease("t"), failure("out of memory", true));
    EXPECT_TRUE(next_ack("t"));
  }
  EXPECT_EQ(status("a").state, JobState::failed);
  EXPECT_THAT(failure_of("a"), HasSubstr("out of memory"));
  submit("b");
  finish("t", next_lease("t"), failure("no such file", false));
  EXPECT_EQ(failure_of("b"), "no such file");
  EXPECT_EQ(status("b").attempts, 1);
}

TEST_F(DispatcherTest, ACancelledWorkerIsBusyUntilItSaysOtherwise) {
  connect_trainer("t");
  submit("a");
  const auto lease = next_lease("t");
  ASSERT_TRUE(campaign_.withdraw("campaign"));
  submit("b");
  EXPECT_EQ(next("t").cancel().lease().job_key(), "a");
  EXPECT_THAT(sent_["t"], IsEmpty());
  finish("t", lease, failure("cancelled", false));
  EXPECT_FALSE(next_ack("t"));
  EXPECT_EQ(next_lease("t").job_key(), "b");
  EXPECT_EQ(status("a").state, JobState::cancelled);
}

TEST_F(DispatcherTest, AWorkerThatDoesNotEndACancelledJobIsDisconnected) {
  connect_trainer("t");
  submit("a");
  next_lease("t");
  ASSERT_TRUE(campaign_.withdraw("campaign"));
  pass(50ms);
  pass(Dispatcher::kAnswer - 1s);
  EXPECT_THAT(disconnected_, IsEmpty());
  pass(1s);
  EXPECT_TRUE(disconnected_.contains("t"));
}

TEST_F(DispatcherTest, AMeasurementWaitsUntilTheTrainerStandsStill) {
  connect_agent("pi");
  connect_trainer("t");
  submit("train");
  const auto training = next_lease("t");
  submit("m", "pi");
  EXPECT_THAT(sent_["pi"], IsEmpty());
  answer_pause("t");
  const auto measuring = next_lease("pi");
  submit("later");
  submit("e", "pi", true);
  EXPECT_THAT(sent_["t"], IsEmpty()) << "a lease or a resume on a host that measures";
  finish("pi", measuring, success());
  EXPECT_TRUE(next("t").has_resume());
  EXPECT_TRUE(next_ack("pi"));
  EXPECT_EQ(next_lease("pi").job_key(), "e");
  finish("t", training, success());
  EXPECT_TRUE(next_ack("t"));
  EXPECT_EQ(next_lease("t").job_key(), "later");
}

TEST_F(DispatcherTest, AnOldAnswerToAPauseDoesNotCount) {
  connect_agent("pi");
  connect_trainer("t");
  submit("train");
  next_lease("t");
  submit("m", "pi");
  const auto first = next("t").pause().sequence();
  ASSERT_TRUE(campaign_.withdraw("campaign", std::vector<std::string>{"m"}));
  pass(50ms);
  EXPECT_TRUE(next("t").has_resume());
  submit("n", "pi");
  protocol::Paused stale;
  stale.set_sequence(first);
  dispatcher_->take_paused(now_, "t", stale);
  EXPECT_THAT(sent_["pi"], IsEmpty());
  answer_pause("t");
  EXPECT_EQ(next_lease("pi").job_key(), "n");
}

TEST_F(DispatcherTest, AWorkerThatDoesNotStandStillIsDisconnected) {
  connect_agent("pi");
  connect_trainer("t");
  submit("train");
  submit("m", "pi");
  pass(Dispatcher::kAnswer);
  EXPECT_THAT(disconnected_["t"], HasSubstr("stand still"));
}

TEST_F(DispatcherTest, AWorkerThatComesBackInTimeKeepsItsJob) {
  connect_trainer("t");
  connect_trainer("u");
  submit("a");
  const auto lease = next_lease("t");
  dispatcher_->lost(now_, "t", "cable pulled");
  pass(Dispatcher::kGrace - 1s);
  EXPECT_THAT(sent_["u"], IsEmpty());
  connect_trainer("t", {lease});
  pass(1min);
  EXPECT_EQ(status("a").attempts, 1);
  finish("t", lease, success());
  EXPECT_TRUE(next_ack("t"));
}

TEST_F(DispatcherTest, AWorkerThatStaysAwayLosesItsJob) {
  connect_trainer("t");
  connect_trainer("u");
  submit("a");
  const auto stale = next_lease("t");
  dispatcher_->lost(now_, "t", "cable pulled");
  pass(Dispatcher::kGrace);
  const auto lease = next_lease("u");
  EXPECT_EQ(status("a").attempts, 2);
  connect_trainer("t", {stale});
  EXPECT_EQ(next("t").cancel().lease().token(), stale.token());
  finish("t", stale, success());
  EXPECT_FALSE(next_ack("t"));
  finish("u", lease, success());
  EXPECT_TRUE(next_ack("u"));
}

TEST_F(DispatcherTest, AWorkerThatWasStartedAnewGivesItsJobBackAtOnce) {
  connect_trainer("t");
  submit("a");
  next_lease("t");
  dispatcher_->lost(now_, "t", "killed");
  connect_trainer("t");
  EXPECT_EQ(next_lease("t").job_key(), "a");
  EXPECT_EQ(status("a").attempts, 2);
}

TEST_F(DispatcherTest, AHostStaysQuietWhileItsAgentIsAway) {
  connect_agent("pi");
  connect_trainer("t");
  submit("train");
  next_lease("t");
  submit("m", "pi");
  answer_pause("t");
  const auto measuring = next_lease("pi");
  dispatcher_->lost(now_, "pi", "cable pulled");
  pass(Dispatcher::kGrace - 1s);
  EXPECT_THAT(sent_["t"], IsEmpty());
  connect_agent("pi", {measuring});
  EXPECT_THAT(sent_["pi"], IsEmpty()) << "the measurement was undisturbed";
  finish("pi", measuring, success());
  EXPECT_TRUE(next_ack("pi"));
  EXPECT_TRUE(next("t").has_resume());
}

TEST_F(DispatcherTest, ATrainerThatReturnsToAQuietHostIsPausedAgain) {
  connect_agent("pi");
  connect_trainer("t");
  submit("train");
  const auto training = next_lease("t");
  submit("m", "pi");
  answer_pause("t");
  next_lease("pi");
  dispatcher_->lost(now_, "t", "cable pulled");
  connect_trainer("t", {training});
  EXPECT_TRUE(next("t").has_pause());
}

TEST_F(DispatcherTest, SeveralHeldLeasesAreAllKept) {
  connect_trainer("t");
  submit("a");
  const auto first = next_lease("t");
  ASSERT_TRUE(store_.submit({"b", "campaign", "", 0, protocol::Job().SerializeAsString()}));
  protocol::LeaseRef second;
  second.set_job_key("b");
  second.set_token(store_.lease("b", "t").value().value());
  start();
  connect_trainer("t", {first, second});
  dispatcher_->lost(now_, "t", "again");
  connect_trainer("t", {first, second});
  finish("t", first, success());
  EXPECT_TRUE(next_ack("t"));
  finish("t", second, success());
  EXPECT_TRUE(next_ack("t"));
}

TEST_F(DispatcherTest, AfterARestartWorkersKeepWhatTheyHold) {
  connect_trainer("t");
  submit("a");
  const auto lease = next_lease("t");
  start();
  pass(Dispatcher::kGraceAtStart - 1s);
  connect_trainer("t", {lease});
  finish("t", lease, success());
  EXPECT_TRUE(next_ack("t"));
  EXPECT_EQ(status("a").attempts, 1);
}

TEST_F(DispatcherTest, AfterARestartMeasurementsAreRepeated) {
  connect_agent("pi");
  submit("m", "pi");
  const auto lease = next_lease("pi");
  start();
  connect_agent("pi", {lease});
  EXPECT_EQ(next("pi").cancel().lease().token(), lease.token());
  EXPECT_THAT(sent_["pi"], IsEmpty()) << "it still measures";
  finish("pi", lease, failure("cancelled", false));
  EXPECT_FALSE(next_ack("pi"));
  EXPECT_GT(next_lease("pi").token(), lease.token());
  EXPECT_EQ(status("m").attempts, 1) << "nobody failed";
}

TEST_F(DispatcherTest, AfterARestartNothingIsMeasuredWhileAnUnknownTrainerMayRun) {
  connect_trainer("t");
  submit("a");
  start();
  connect_agent("pi");
  submit("m", "pi");
  EXPECT_THAT(sent_["pi"], IsEmpty());
  connect("t", protocol::TRAINER, "elsewhere");
  EXPECT_EQ(next_lease("pi").job_key(), "m");
}

TEST_F(DispatcherTest, LocalWorkersEndWithTheirServer) {
  start({kLocalAgent, kLocalTrainer});
  connect_trainer(kLocalTrainer);
  submit("a");
  const auto lease = next_lease(kLocalTrainer);
  start({kLocalAgent, kLocalTrainer});
  EXPECT_TRUE(dispatcher_->local_need().trainer) << "its outbox may hold the result";
  connect_agent("local");
  submit("m", "local");
  EXPECT_EQ(next_lease("local").job_key(), "m") << "the trainer cannot be running";
  connect_trainer(kLocalTrainer);
  EXPECT_EQ(status("a").attempts, 0) << "neither the job nor the trainer is to blame";
  EXPECT_EQ(status("a").state, JobState::queued);
}

TEST_F(DispatcherTest, AlwaysAsksForTheLocalAgentAndForATrainerWhenNobodyElseServes) {
  EXPECT_TRUE(dispatcher_->local_need().agent) << "a campaign looks for it before it submits anything";
  EXPECT_FALSE(dispatcher_->local_need().trainer);
  submit("m", "pi");
  connect_agent("local");
  EXPECT_FALSE(dispatcher_->local_need().agent);
  EXPECT_FALSE(dispatcher_->local_need().trainer);
  submit("a");
  EXPECT_TRUE(dispatcher_->local_need().trainer);
  connect("big", protocol::TRAINER, "cluster");
  submit("b");
  EXPECT_FALSE(dispatcher_->local_need().trainer) << "the cluster's trainer is busy, but there";
}

TEST_F(DispatcherTest, DoesNotStartATrainerWhileThisHostMeasures) {
  connect_agent("local");
  submit("m", "local");
  submit("a");
  EXPECT_FALSE(dispatcher_->local_need().trainer);
  finish("local", next_lease("local"), success());
  EXPECT_TRUE(dispatcher_->local_need().trainer);
}

TEST_F(DispatcherTest, JobsFailThatWaitForALocalWorkerInVain) {
  submit("a");
  submit("m", "local");
  submit("n", "pi");
  dispatcher_->fail_local(WorkerRole::trainer, "finch-trainer is missing");
  dispatcher_->fail_local(WorkerRole::agent, "finch-agent is missing");
  EXPECT_EQ(failure_of("a"), "finch-trainer is missing");
  EXPECT_EQ(failure_of("m"), "finch-agent is missing");
  EXPECT_EQ(status("n").state, JobState::queued);
}

TEST_F(DispatcherTest, AResultWithoutItsArtifactIsNotTaken) {
  connect_trainer("t");
  submit("a");
  auto result = success();
  const auto sha256 = protocol::sha256_hex(std::string_view("model"));
  result.mutable_data_facts()->mutable_test_set()->set_sha256(sha256);
  finish("t", next_lease("t"), result);
  EXPECT_FALSE(next_ack("t"));
  artifacts_.insert(sha256);
  finish("t", next_lease("t"), result);
  EXPECT_TRUE(next_ack("t"));
}

TEST_F(DispatcherTest, ProgressIsWrittenNowAndThen) {
  connect_trainer("t");
  submit("a");
  protocol::Progress progress;
  *progress.mutable_lease() = next_lease("t");
  const auto report = [&](double fraction) {
    progress.set_fraction(fraction);
    progress.set_message("epoch");
    dispatcher_->take_progress(now_, "t", progress);
  };
  report(0.1);
  EXPECT_DOUBLE_EQ(status("a").progress, 0.1);
  report(0.2);
  EXPECT_DOUBLE_EQ(status("a").progress, 0.1);
  pass(Dispatcher::kProgressInterval);
  report(7);
  EXPECT_DOUBLE_EQ(status("a").progress, 1);
}

}  // namespace
}  // namespace finch::controller
