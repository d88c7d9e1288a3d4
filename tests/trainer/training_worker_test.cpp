// The worker around the child that trains, with the real child: a crash costs a job, a pause costs nothing.
#include "trainer/training_worker.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "protocol/farm.pb.h"
#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/process_group.hpp"
#include "trainer/tensor_file.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class Context : public protocol::JobContext {
 public:
  explicit Context(std::filesystem::path output) : output_(std::move(output)) {
    std::filesystem::create_directories(output_);
  }
  void progress(double fraction, const std::string&) override { progress_ = fraction; }
  std::stop_token stop_token() const override { return stop_.get_token(); }
  const std::map<std::string, std::filesystem::path>& artifacts() const override { return artifacts_; }
  const std::filesystem::path& output_folder() const override { return output_; }

  double last_progress() const { return progress_; }
  void stop() { stop_.request_stop(); }

 private:
  std::filesystem::path output_;
  std::map<std::string, std::filesystem::path> artifacts_;
  std::stop_source stop_;
  std::atomic<double> progress_ = 0;
};

template <typename Condition>
void wait_until(Condition&& condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

class TrainingWorkerTest : public testing::Test {
 protected:
  TrainingWorkerTest() { write_sample_idx(folder_.path() / "data"); }

  protocol::Job inspection() const {
    protocol::Job job;
    job.mutable_inspect_data()->mutable_data()->set_format("idx");
    job.mutable_inspect_data()->mutable_data()->set_path((folder_.path() / "data").string());
    return job;
  }
  // Hours, unless something happens to it.
  protocol::Job endless_training() const {
    protocol::Job job;
    protocol::TrainCandidate& train = *job.mutable_train_candidate();
    train.mutable_space()->set_name("mobilenet");
    train.mutable_space()->set_channels(1);
    train.mutable_space()->set_height(kSampleSize);
    train.mutable_space()->set_width(kSampleSize);
    train.mutable_space()->set_classes(kSampleClasses);
    const auto space = *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
    for (const int choice : space->smallest()) train.add_genotype(choice);
    *train.mutable_data() = inspection().inspect_data().data();
    train.mutable_data()->set_validation_samples(40);
    train.mutable_recipe()->set_epochs(1e5);
    train.mutable_recipe()->set_batch_size(16);
    train.mutable_recipe()->set_learning_rate(0.01);
    train.mutable_recipe()->set_temperature(1);
    train.mutable_recipe()->set_threads(1);
    return job;
  }

  // On one thread, so that it can be repeated bit by bit.
  protocol::Job supernet_training() const {
    protocol::Job job;
    protocol::TrainSupernet& train = *job.mutable_train_supernet();
    const protocol::TrainCandidate alike = endless_training().train_candidate();
    *train.mutable_space() = alike.space();
    *train.mutable_data() = alike.data();
    *train.mutable_recipe() = alike.recipe();
    train.mutable_recipe()->set_epochs(20);
    train.mutable_limits()->set_macs(100'000);
    train.set_spread(true);
    return job;
  }

  protocol::Job training(double epochs) const {
    protocol::Job job = endless_training();
    job.mutable_train_candidate()->mutable_recipe()->set_epochs(epochs);
    return job;
  }

  // The process that trains: the worker's only child.
  static pid_t child(const std::string& of = "self") {
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + of + "/task")) {
      std::ifstream children(task.path() / "children");
      pid_t pid = 0;
      if (children >> pid) return pid;
    }
    return 0;
  }
  static char state_of(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    return text.empty() ? ' ' : text.at(text.rfind(')') + 2);
  }
  // All threads of the child: one that still runs would disturb a measurement.
  static bool stands_still(pid_t pid) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
      std::ifstream file(task.path() / "stat");
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      if (text.at(text.rfind(')') + 2) != 'T') return false;
    }
    return true;
  }

  const TemporaryFolder folder_;
  TrainingWorker worker_{{std::string(std::getenv("FINCH_BIN")) + "/finch-trainer", "serve-jobs"},
                         (folder_.path() / "log").string()};
  Context context_{folder_.path() / "output"};
};

TEST_F(TrainingWorkerTest, AChildThatIsKilledCostsOneJob) {
  protocol::JobResult result;
  std::jthread job([&] { result = worker_.run(endless_training(), context_); });
  wait_until([&] { return context_.last_progress() > 0; });
  ASSERT_EQ(::kill(child(), SIGKILL), 0);
  job.join();
  ASSERT_TRUE(result.has_failure());
  EXPECT_TRUE(result.failure().retryable());
  EXPECT_THAT(result.failure().message(), HasSubstr("signal 9 (Killed)"));
  EXPECT_TRUE(worker_.run(inspection(), context_).has_data_facts());
}

TEST_F(TrainingWorkerTest, ASupernetGoesOnWhereItsProcessWasKilledAndIsTheSameBitByBit) {
  const auto checkpoints = folder_.path() / "checkpoints";
  const std::string program = std::string(std::getenv("FINCH_BIN")) + "/finch-trainer";
  std::string undisturbed;
  {
    TrainingWorker worker{{program, "serve-jobs"}, (folder_.path() / "log").string()};
    undisturbed = worker.run(supernet_training(), context_).trained_supernet().supernet().sha256();
  }
  ASSERT_EQ(undisturbed.size(), 64u);

  TrainingWorker worker{{program, "serve-jobs", "--checkpoints", checkpoints.string()},
                        (folder_.path() / "log").string()};
  const auto kept_step = [&]() -> std::int64_t {
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints)) {
      if (const auto tensors = load_tensors(entry.path())) return tensors->at("training.step").item<std::int64_t>();
    }
    return 0;
  };
  std::filesystem::create_directories(checkpoints);
  std::int64_t before = 1;
  for (int kills = 0; kills < 2; ++kills) {
    protocol::JobResult result;
    std::jthread job([&] { result = worker.run(supernet_training(), context_); });
    const std::int64_t step_at_start = kept_step();
    wait_until([&] { return kept_step() != step_at_start && kept_step() > 1; });
    ASSERT_EQ(::kill(child(), SIGKILL), 0);
    job.join();
    EXPECT_TRUE(result.failure().retryable());
    EXPECT_GT(kept_step(), before) << "it began anew";
    before = kept_step();
  }
  const auto resumed = worker.run(supernet_training(), context_);
  EXPECT_EQ(resumed.trained_supernet().supernet().sha256(), undisturbed);
  EXPECT_TRUE(std::filesystem::is_empty(checkpoints));
}

TEST_F(TrainingWorkerTest, TwoProcessesTrainTogetherAndTheLossOfOneCostsOneJob) {
  const std::string program = std::string(std::getenv("FINCH_BIN")) + "/finch-trainer";
  TrainingWorker worker{{program, "serve-jobs", "--processes", "2"}, (folder_.path() / "log").string()};
  EXPECT_TRUE(worker.run(inspection(), context_).has_data_facts()) << "the leader alone";
  const auto trained = worker.run(training(12), context_);
  ASSERT_TRUE(trained.has_trained_candidate()) << trained.failure().message();
  EXPECT_GE(trained.trained_candidate().validation_top1(), 0.9);
  EXPECT_EQ(trained.trained_candidate().checkpoint().sha256().size(), 64u);

  Context disturbed(folder_.path() / "disturbed");
  protocol::JobResult result;
  std::jthread job([&] { result = worker.run(endless_training(), disturbed); });
  wait_until([&] { return disturbed.last_progress() > 0; });
  const pid_t other = child(std::to_string(child()));
  ASSERT_GT(other, 0);
  ASSERT_EQ(::kill(other, SIGKILL), 0);
  job.join();
  ASSERT_TRUE(result.has_failure());
  EXPECT_TRUE(result.failure().retryable()) << result.failure().message();
  const auto again = worker.run(training(2), context_);
  EXPECT_TRUE(again.has_trained_candidate()) << again.failure().message();
}

// As torchrun, or Slurm with its variables, starts them.
TEST_F(TrainingWorkerTest, AnotherProcessJoinsByTorchrunsVariables) {
  const std::string program = std::string(std::getenv("FINCH_BIN")) + "/finch-trainer";
  const std::string port = std::to_string(free_port().value());
  const auto variables = [&](const char* rank) {
    return std::vector<std::string>{std::string("RANK=") + rank, "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
                                    "MASTER_PORT=" + port, "UCX_HANDLE_ERRORS=none"};
  };
  auto leader = protocol::JobProcess::start({program, "serve-jobs"}, (folder_.path() / "log").string(), variables("0"));
  auto other = protocol::JobProcess::start({program}, (folder_.path() / "log").string(), variables("1"));
  ASSERT_TRUE(leader && other);
  protocol::ChildRequest request;
  *request.mutable_job() = training(12);
  request.set_output_folder(context_.output_folder().string());
  const auto event = leader->run(request, [](const protocol::ChildEvent&) {}, {});
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_GE(event->result().trained_candidate().validation_top1(), 0.9) << event->result().failure().message();
  EXPECT_TRUE(other->alive());
}

TEST_F(TrainingWorkerTest, ACancelledJobEndsSoon) {
  protocol::JobResult result;
  std::jthread job([&] { result = worker_.run(endless_training(), context_); });
  wait_until([&] { return context_.last_progress() > 0; });
  context_.stop();
  job.join();
  EXPECT_TRUE(result.has_failure());
  Context next(folder_.path() / "next");
  EXPECT_TRUE(worker_.run(inspection(), next).has_data_facts());
}

TEST_F(TrainingWorkerTest, PausedItStandsStillAndTheTimeIsCounted) {
  protocol::JobResult result;
  std::jthread job([&] { result = worker_.run(endless_training(), context_); });
  wait_until([&] { return context_.last_progress() > 0; });
  const pid_t trainer = child();
  worker_.pause();
  EXPECT_TRUE(stands_still(trainer));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  worker_.resume();
  wait_until([&] { return state_of(trainer) != 'T'; });
  const double before = context_.last_progress();
  wait_until([&] { return context_.last_progress() > before; });
  context_.stop();
  job.join();
  EXPECT_GE(result.paused_seconds(), 0.05);
}

TEST_F(TrainingWorkerTest, AProgramThatIsNoneIsAFailure) {
  TrainingWorker worker({"/nowhere/finch-trainer"}, (folder_.path() / "log").string());
  const auto result = worker.run(inspection(), context_);
  ASSERT_TRUE(result.has_failure());
  EXPECT_THAT(result.failure().message(), HasSubstr("/nowhere/finch-trainer"));
}

}  // namespace
}  // namespace finch::trainer
