#include "controller/farm/scheduler.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

namespace finch::controller {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr auto kPause = Action::Kind::pause;
constexpr auto kResume = Action::Kind::resume;
constexpr auto kLease = Action::Kind::lease;

WorkerView agent(const std::string& name, const std::string& host, WorkerActivity activity = WorkerActivity::idle) {
  return {.name = name, .role = WorkerRole::agent, .host = host, .activity = activity};
}
WorkerView trainer(const std::string& name, const std::string& host, WorkerActivity activity = WorkerActivity::idle,
                   WorkerMotion motion = WorkerMotion::running) {
  return {.name = name, .role = WorkerRole::trainer, .host = host, .activity = activity, .motion = motion};
}
JobView measurement(const std::string& key, const std::string& device) {
  return {key, JobKind::measurement, device};
}
JobView evaluation(const std::string& key, const std::string& device) {
  return {key, JobKind::evaluation, device};
}
JobView training(const std::string& key, const std::string& target = "") {
  return {key, JobKind::training, target};
}

std::vector<Action> plan(const std::vector<WorkerView>& workers, const std::vector<JobView>& jobs) {
  return Scheduler().plan(Scheduler::Time{} + 1h, workers, jobs);
}

TEST(SchedulerTest, GivesJobsToWhomTheyAreFor) {
  EXPECT_THAT(plan({agent("pi", "board"), agent("local", "pc"), trainer("t", "other")},
                   {evaluation("e", "local"), training("a"), training("b"), measurement("m", "pi")}),
              UnorderedElementsAre(Action{kLease, "local", "e"}, Action{kLease, "t", "a"}, Action{kLease, "pi", "m"}));
  EXPECT_THAT(plan({agent("pi", "board")}, {measurement("m", "unknown"), training("a")}), IsEmpty());
  EXPECT_THAT(plan({trainer("t", "one"), trainer("u", "two")}, {training("a", "u")}),
              ElementsAre(Action{kLease, "u", "a"}));
}

TEST(SchedulerTest, TheMostUrgentJobComesFirst) {
  EXPECT_THAT(plan({agent("pi", "board")}, {evaluation("e", "pi"), measurement("m", "pi")}),
              ElementsAre(Action{kLease, "pi", "e"}));
  EXPECT_THAT(plan({agent("pi", "board")}, {measurement("m", "pi"), evaluation("e", "pi")}),
              ElementsAre(Action{kLease, "pi", "m"}));
}

TEST(SchedulerTest, PausesTheTrainerBeforeItsHostMeasures) {
  const std::vector<JobView> jobs = {measurement("m", "local")};
  EXPECT_THAT(plan({agent("local", "pc"), trainer("t", "pc", WorkerActivity::working)}, jobs),
              ElementsAre(Action{kPause, "t", ""}));
  EXPECT_THAT(plan({agent("local", "pc"), trainer("t", "pc", WorkerActivity::working, WorkerMotion::pausing)}, jobs),
              IsEmpty());
  EXPECT_THAT(plan({agent("local", "pc"), trainer("t", "pc", WorkerActivity::working, WorkerMotion::paused)}, jobs),
              ElementsAre(Action{kLease, "local", "m"}));
  EXPECT_THAT(plan({agent("local", "pc"), trainer("t", "elsewhere", WorkerActivity::working)}, jobs),
              ElementsAre(Action{kLease, "local", "m"}));
}

TEST(SchedulerTest, NothingIsLeasedOnAHostThatMeasures) {
  EXPECT_THAT(plan({agent("local", "pc", WorkerActivity::measuring), agent("second", "pc"), trainer("t", "pc")},
                   {training("a"), evaluation("e", "second"), measurement("m", "second")}),
              IsEmpty());
  // Nor on one that is about to.
  EXPECT_THAT(plan({agent("local", "pc"), agent("second", "pc", WorkerActivity::working), trainer("t", "pc")},
                   {measurement("m", "local"), training("a")}),
              IsEmpty());
}

TEST(SchedulerTest, ATrainerStandsStillFromMeasurementToMeasurement) {
  const auto still = trainer("t", "pc", WorkerActivity::working, WorkerMotion::paused);
  EXPECT_THAT(plan({agent("local", "pc"), still}, {measurement("next", "local")}),
              ElementsAre(Action{kLease, "local", "next"}));
  EXPECT_THAT(plan({agent("local", "pc"), still}, {}), ElementsAre(Action{kResume, "t", ""}));
}

TEST(SchedulerTest, ATrainerThatComesBackDuringAMeasurementIsPaused) {
  EXPECT_THAT(plan({agent("local", "pc", WorkerActivity::measuring), trainer("t", "pc", WorkerActivity::working)}, {}),
              ElementsAre(Action{kPause, "t", ""}));
}

TEST(SchedulerTest, AnIdleTrainerIsResumedBeforeItGetsAJob) {
  EXPECT_THAT(plan({trainer("t", "pc", WorkerActivity::idle, WorkerMotion::paused)}, {training("a")}),
              ElementsAre(Action{kResume, "t", ""}, Action{kLease, "t", "a"}));
}

TEST(SchedulerTest, AMeasurementWaitsForALostTrainerOfItsHost) {
  auto lost = trainer("t", "pc", WorkerActivity::working);
  lost.connected = false;
  EXPECT_THAT(plan({agent("local", "pc"), lost}, {measurement("m", "local")}), IsEmpty());
  lost.host.clear();  // it may be anywhere
  EXPECT_THAT(plan({agent("local", "pc"), lost}, {measurement("m", "local")}), IsEmpty());
  EXPECT_THAT(plan({agent("local", "pc"), lost}, {evaluation("e", "local")}),
              ElementsAre(Action{kLease, "local", "e"}));
}

// A farm in miniature: workers of several hosts, jobs that take time, workers that come and go.
class Simulation {
 public:
  explicit Simulation(unsigned seed) : random_(seed) {
    for (const char* name : {"local", "pi", "duo-1", "duo-2"}) {
      workers_.push_back({agent(name, host_of(name)), {}, 0, 0, 0});
    }
    for (const char* name : {"local-trainer", "duo-trainer", "big-trainer"}) {
      workers_.push_back({trainer(name, host_of(name)), {}, 0, 0, 0});
    }
  }

  void add_job(const JobView& job) { queue_.push_back(job); }
  void add_random_job() {
    const std::string key = std::to_string(next_job_++);
    const std::array devices = {"local", "pi", "duo-1", "duo-2"};
    const std::string device = devices[roll(4)];
    const JobView job = roll(3) == 0   ? training(key)
                        : roll(3) == 0 ? evaluation(key, device)
                                       : measurement(key, device);
    // Some are more urgent.
    queue_.insert(queue_.begin() + static_cast<long>(roll(queue_.size() + 1)), job);
  }

  // A tenth of a second.
  void step(bool disturb) {
    now_ += 100ms;
    for (Worker& worker : workers_) advance(worker);
    if (disturb && roll(20) == 0) lose(workers_[roll(workers_.size())]);
    apply(scheduler_.plan(now_, views(), queue_));
    check_quiet_hosts();
  }

  bool idle() const {
    return queue_.empty() && std::ranges::all_of(workers_, [](const Worker& worker) { return worker.job.key.empty(); });
  }
  int finished(JobKind kind) const { return finished_[static_cast<std::size_t>(kind)]; }
  int steps_run(const std::string& name) const {
    return std::ranges::find(workers_, name, [](const Worker& worker) { return worker.view.name; })->steps_run;
  }
  std::size_t queued() const { return queue_.size(); }

 private:
  struct Worker {
    WorkerView view;
    JobView job;
    int steps_left, answer_in, steps_run;
    int back_in = 0;
  };

  static std::string host_of(const std::string& name) { return name.substr(0, name.find('-')); }
  std::size_t roll(std::size_t sides) { return std::uniform_int_distribution<std::size_t>(0, sides - 1)(random_); }

  std::vector<WorkerView> views() const {
    std::vector<WorkerView> views;
    for (const Worker& worker : workers_) views.push_back(worker.view);
    return views;
  }

  void advance(Worker& worker) {
    if (worker.back_in > 0 && --worker.back_in == 0) {
      worker.view.connected = true;
      worker.view.motion = WorkerMotion::running;
      if (roll(2) == 0) give_back(worker);  // it was started anew
    }
    if (worker.view.motion == WorkerMotion::pausing && --worker.answer_in <= 0) {
      worker.view.motion = WorkerMotion::paused;
    }
    if (worker.job.key.empty() || worker.view.motion == WorkerMotion::paused || !worker.view.connected) return;
    ++worker.steps_run;
    if (--worker.steps_left > 0) return;
    ++finished_[static_cast<std::size_t>(worker.job.kind)];
    worker.job = {};
    worker.view.activity = WorkerActivity::idle;
  }

  void lose(Worker& worker) {
    if (!worker.view.connected) return;
    worker.view.connected = false;
    worker.back_in = 1 + static_cast<int>(roll(30));
    // Who stands still does so until it is back; who was asked to has not heard it.
    if (worker.view.motion != WorkerMotion::pausing) return;
    worker.view.motion = WorkerMotion::running;
  }

  void give_back(Worker& worker) {
    if (!worker.job.key.empty()) queue_.insert(queue_.begin(), worker.job);
    worker.job = {};
    worker.view.activity = WorkerActivity::idle;
    worker.view.motion = WorkerMotion::running;
  }

  void apply(const std::vector<Action>& actions) {
    std::vector<std::size_t> leased_trainings;
    for (const Action& action : actions) {
      const auto worker =
          std::ranges::find(workers_, action.worker, [](const Worker& entry) { return entry.view.name; });
      ASSERT_NE(worker, workers_.end());
      ASSERT_TRUE(worker->view.connected) << action.worker;
      if (action.kind == kPause) {
        ASSERT_EQ(worker->view.motion, WorkerMotion::running);
        worker->view.motion = WorkerMotion::pausing;
        worker->answer_in = 1 + static_cast<int>(roll(3));
      } else if (action.kind == kResume) {
        worker->view.motion = WorkerMotion::running;
      } else {
        take(*worker, action.job_key);
      }
    }
  }

  void take(Worker& worker, const std::string& key) {
    const auto job = std::ranges::find(queue_, key, &JobView::key);
    ASSERT_NE(job, queue_.end()) << "leased twice";
    ASSERT_EQ(worker.view.activity, WorkerActivity::idle);
    ASSERT_EQ(worker.view.role, job->kind == JobKind::training ? WorkerRole::trainer : WorkerRole::agent);
    if (!job->target.empty()) {
      ASSERT_EQ(worker.view.name, job->target);
    } else {
      // Oldest first: no other training before it in the queue stays behind.
      ASSERT_TRUE(std::none_of(queue_.begin(), job, [](const JobView& other) {
        return other.kind == JobKind::training && other.target.empty();
      }));
    }
    for (const Worker& other : workers_) {
      if (other.view.host != worker.view.host || &other == &worker || other.view.activity == WorkerActivity::idle)
        continue;
      ASSERT_NE(other.view.activity, WorkerActivity::measuring) << "a lease on a host that measures";
      if (job->kind == JobKind::measurement) {
        ASSERT_EQ(other.view.motion, WorkerMotion::paused) << "measures while " << other.view.name << " runs";
      }
    }
    worker.job = *job;
    worker.view.activity = job->kind == JobKind::measurement ? WorkerActivity::measuring : WorkerActivity::working;
    worker.steps_left = 1 + static_cast<int>(roll(job->kind == JobKind::training ? 60 : 20));
    queue_.erase(job);
  }

  void check_quiet_hosts() const {
    for (const Worker& measuring : workers_) {
      if (measuring.view.activity != WorkerActivity::measuring) continue;
      for (const Worker& other : workers_) {
        if (&other == &measuring || other.view.host != measuring.view.host) continue;
        if (other.view.activity == WorkerActivity::idle) continue;
        // Lost before the measurement began is ruled out at its start; whoever came back is being paused.
        ASSERT_NE(other.view.motion, WorkerMotion::running) << other.view.name << " runs while its host measures";
      }
    }
  }

  std::mt19937 random_;
  Scheduler scheduler_;
  Scheduler::Time now_{1h};
  std::vector<Worker> workers_;
  std::vector<JobView> queue_;
  std::array<int, 3> finished_{};
  int next_job_ = 0;
};

class SchedulerSimulation : public testing::TestWithParam<unsigned> {};

TEST_P(SchedulerSimulation, KeepsItsRulesAndFinishesEverything) {
  Simulation farm(GetParam());
  std::mt19937 random(GetParam() + 1000);
  int added = 0;
  for (int i = 0; i < 3000 && !testing::Test::HasFatalFailure(); ++i) {
    if (random() % 12 == 0) {
      farm.add_random_job();
      ++added;
    }
    farm.step(/*disturb=*/true);
  }
  for (int i = 0; i < 20'000 && !farm.idle() && !testing::Test::HasFatalFailure(); ++i) farm.step(/*disturb=*/false);
  EXPECT_TRUE(farm.idle()) << farm.queued() << " jobs were never done";
  EXPECT_EQ(farm.finished(JobKind::training) + farm.finished(JobKind::evaluation) + farm.finished(JobKind::measurement),
            added);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerSimulation, testing::Range(0u, 40u));

TEST(SchedulerTest, TrainersGetTheirShareUnderAnEndlessStreamOfMeasurements) {
  Simulation farm(1);
  constexpr int kSteps = 20'000;
  for (int i = 0; i < kSteps && !testing::Test::HasFatalFailure(); ++i) {
    // There is always one more to measure, and one more to train.
    if (i % 5 == 0) farm.add_job(measurement("m" + std::to_string(i), "local"));
    if (i % 10 == 0) farm.add_job(training("t" + std::to_string(i), "local-trainer"));
    farm.step(/*disturb=*/false);
  }
  EXPECT_GE(farm.steps_run("local-trainer"), Scheduler::kTrainerShare * 0.8 * kSteps);
  EXPECT_GE(farm.steps_run("local"), 0.6 * kSteps);
}

TEST(SchedulerTest, TrainersKeepTheirShareWhenMeasurementsComeOneAtATime) {
  // Each is asked for a moment after the last one: never two in the queue, yet hardly a gap.
  Simulation farm(2);
  constexpr int kSteps = 20'000;
  int asked = 0;
  for (int i = 0; i < kSteps && !testing::Test::HasFatalFailure(); ++i) {
    if (farm.finished(JobKind::measurement) == asked) {
      farm.add_job(measurement("m" + std::to_string(i), "local"));
      ++asked;
    }
    if (i % 10 == 0) farm.add_job(training("t" + std::to_string(i), "local-trainer"));
    farm.step(/*disturb=*/false);
  }
  EXPECT_GE(farm.steps_run("local-trainer"), Scheduler::kTrainerShare * 0.8 * kSteps);
  EXPECT_GE(farm.steps_run("local"), 0.5 * kSteps);
}

}  // namespace
}  // namespace finch::controller
