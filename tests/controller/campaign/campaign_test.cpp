#include "controller/campaign/campaign.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <set>
#include <thread>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class CampaignTest : public testing::Test, protected CampaignFixture {
 protected:
  static std::string small_and(const std::string& tables) { return kSmall + tables; }
  // The error that the campaign ends with.
  Error failure(const std::string& name, const CampaignConfig& campaign) {
    auto run = create(name, campaign);
    const auto driven = drive(*run);
    return driven ? Error{"no error", ExitCode::done} : driven.error();
  }
};

TEST_F(CampaignTest, EndsWithAFrontOfMeasuredModels) {
  const CampaignResult result = finish("run", config());
  EXPECT_EQ(result.status, "finished");
  EXPECT_EQ(result.candidates.size(), 8u);
  EXPECT_EQ(result.teacher_top1, 0.95);
  EXPECT_EQ(result.reused_results, 0);
  EXPECT_EQ(result.data_hash, "data 1");
  EXPECT_THAT(result.notes, Contains(HasSubstr("energy: no power sensor found")));
  ASSERT_FALSE(result.models.empty());
  EXPECT_LE(result.models.size(), 3u);
  double latency = 0, top1 = 0;
  for (const FrontModel& model : result.models) {
    ASSERT_EQ(model.files.size(), 2u);
    EXPECT_EQ(model.files[0].precision, "fp32");
    EXPECT_EQ(model.files[1].precision, "int8");
    for (const ModelFile& file : model.files) {
      EXPECT_EQ(protocol::sha256_of_file(folder("run") / file.path).value(), file.sha256);
      ASSERT_EQ(file.measurements.size(), 1u);
      const MeasurementInfo& measurement = file.measurements.front();
      EXPECT_EQ(measurement.artifact_sha256, file.sha256);
      EXPECT_EQ(measurement.tier, "certify");
      EXPECT_EQ(measurement.verdict, "VALID");
      EXPECT_EQ(measurement.deploy.precision, file.precision);
      EXPECT_EQ(measurement.deploy.threads, 1);
      EXPECT_FALSE(measurement.energy);
      ASSERT_TRUE(measurement.raw);
      EXPECT_TRUE(std::filesystem::exists(folder("run") / *measurement.raw));
      EXPECT_EQ(file.accuracy->samples, 200);
      EXPECT_EQ(file.accuracy->split, "test");
    }
    // Fastest first, and nothing on the front is beaten by another.
    EXPECT_GT(model.files[0].measurements[0].median_ms, latency);
    EXPECT_GT(model.files[0].accuracy->top1, top1);
    latency = model.files[0].measurements[0].median_ms;
    top1 = model.files[0].accuracy->top1;
    EXPECT_THAT(model.notes, Contains(HasSubstr("int8 does not pay here: 1.")));
    EXPECT_THAT(model.notes, Contains("int8 loses 1.20 points of accuracy"));
    EXPECT_THAT(model.notes, Contains("int8 is the better for quantization-aware training: 88.00 % with it, 85.00 % "
                                      "calibrated only, 90.00 % in fp32 (validation)"));
    EXPECT_THAT(model.notes, Contains("int8 keeps 1 of 12 layers in fp32 (88.80 % validation): head"));
    EXPECT_THAT(model.notes,
                Contains("int8: the runtime has kernels for floats in 3 layers, though 2 were to stay fp32: "
                         "stem, head, expand"));
    EXPECT_THAT(model.notes, Not(Contains(HasSubstr("slower than with the random weights"))));
  }
  // Finalists that are not on the front are named.
  const auto left_out = std::ranges::count_if(
      result.notes, [](const std::string& note) { return note.find("is left out") != std::string::npos; });
  EXPECT_EQ(result.models.size() + static_cast<std::size_t>(left_out), 3u);
}

TEST_F(CampaignTest, AFinishedOneIsReadAgainAsItWas) {
  const CampaignResult result = finish("run", config());
  const auto again = open("run");
  EXPECT_TRUE(again->finished());
  const auto read = again->result();
  ASSERT_TRUE(read);
  EXPECT_EQ(read->models.size(), result.models.size());
  EXPECT_EQ(read->finished, result.finished);
  EXPECT_EQ(read->config_toml, result.config_toml);
}

TEST_F(CampaignTest, TrainsByDistillationFromParentsAndFinalistsFromThemselves) {
  finish("run", config());
  std::size_t inherited = 0;
  for (const Job& job : farm.served) {
    if (!job.has_train_candidate()) continue;
    EXPECT_TRUE(job.train_candidate().has_soft_targets());
    inherited += job.train_candidate().has_parent_checkpoint();
    if (job.train_candidate().precisions_size() > 0) {
      EXPECT_TRUE(job.train_candidate().has_parent_checkpoint());
      EXPECT_EQ(job.train_candidate().recipe().epochs(), 3);
      EXPECT_EQ(job.train_candidate().metadata().campaign(), "small");
      EXPECT_EQ(job.train_candidate().metadata().class_names_size(), 3);
    }
  }
  EXPECT_GT(inherited, 3u);
}

TEST_F(CampaignTest, WithoutTeacherItTrainsFromLabels) {
  finish("run", config(small_and("[teacher]\nenabled = false\n")));
  EXPECT_EQ(farm.count(Job::kTrainTeacher), 0u);
  for (const Job& job : farm.served) EXPECT_FALSE(job.train_candidate().has_soft_targets());
}

TEST_F(CampaignTest, MeasuresWhatWillBeDeployed) {
  finish("run", config(small_and("[deploy]\nprecision = \"int8\"\nthreads = 2\nbatch = 4\n")));
  for (const Job& job : farm.served) {
    if (job.has_export_random()) EXPECT_EQ(job.export_random().precisions(0), "int8");
    if (!job.has_measure()) continue;
    EXPECT_EQ(job.measure().deploy().threads(), 2);
    EXPECT_EQ(job.measure().deploy().batch(), 4);
    if (job.measure().tier() == "screen") EXPECT_EQ(job.measure().deploy().precision(), "int8");
  }
}

TEST_F(CampaignTest, AnotherCampaignReusesWhatIsKnown) {
  const CampaignResult first = finish("first", config());
  farm.served.clear();
  const CampaignResult second = finish("second", config());
  EXPECT_EQ(farm.served.size(), farm.count(Job::kInspectData));
  EXPECT_EQ(second.reused_results, 1 + 8 * 2 + 3 * 5);
  ASSERT_EQ(second.models.size(), first.models.size());
  for (const FrontModel& model : second.models) {
    EXPECT_TRUE(model.files[0].measurements[0].reused);
    EXPECT_TRUE(model.files[0].accuracy->reused);
  }
  double waiting = 0;  // nothing was waited for
  for (const StageTime& stage : second.stages) waiting += stage.waiting_seconds;
  EXPECT_EQ(waiting, 0);
}

TEST_F(CampaignTest, AnotherDeviceStateIsMeasuredAnew) {
  finish("first", config());
  farm.served.clear();
  farm.device.set_state_hash("state 2");
  farm.connect();
  finish("second", config());
  EXPECT_EQ(farm.count(Job::kTrainCandidate), 0u);
  EXPECT_EQ(farm.count(Job::kMeasure), 8u + 3 * 2);
}

TEST_F(CampaignTest, WhatIsTooSlowIsNeverTrained) {
  const CampaignResult result = finish("run", config(small_and("[constraints]\nlatency_ms = 1.0\n")));
  std::set<std::string> slow;
  std::size_t evaluated = 0;
  for (const CandidatePoint& candidate : result.candidates) {
    if (candidate.outcome == "evaluated") {
      ++evaluated;
      EXPECT_LE(*candidate.latency_ms, 1.0);
    } else {
      EXPECT_EQ(candidate.outcome, "too slow");
      EXPECT_GT(*candidate.latency_ms, 1.0);
      EXPECT_FALSE(candidate.validation_top1);
    }
  }
  EXPECT_EQ(evaluated, 8u);
  EXPECT_GT(result.candidates.size(), 8u);
  EXPECT_EQ(farm.count(Job::kTrainCandidate), 8u + 3);
}

TEST_F(CampaignTest, ConstraintsThatAreKnownBeforehandAreNeverBroken) {
  const CampaignResult result =
      finish("run", config(small_and("[constraints]\nparameters = 60000.0\nmacs = 2e6\nmemory_mb = 0.1\n")));
  EXPECT_EQ(result.candidates.size(), 8u);
  for (const CandidatePoint& candidate : result.candidates) {
    EXPECT_LE(candidate.parameters, 60000);
    EXPECT_LE(candidate.macs, 2'000'000);
  }
}

TEST_F(CampaignTest, ASpaceThatRunsDryEndsTheSearchAndReplays) {
  // Room for the smallest networks alone.
  const auto space = search::make_search_space({.name = "mobilenet", .image = {1, 28, 28}, .classes = 3}).value();
  const auto smallest = search::cost_of(space->decode(space->smallest()).value());
  const auto limits = std::format("[budget]\nevaluations = 5000\n[finalists]\ncount = 2\n[constraints]\nmacs = {}.0\n",
                                  smallest.macs + smallest.macs / 50);
  auto run = create("run", config(limits));
  const auto driven = drive(*run);
  ASSERT_TRUE(driven) << driven.error().message;
  const auto log = events("run");
  const auto in_vain = std::ranges::count_if(
      log, [](const Event& event) { return event.type == "asked" && !event.data.contains("genotype"); });
  EXPECT_GE(in_vain, 1);
  const auto closed = std::ranges::find(log, "search_closed", &Event::type);
  EXPECT_EQ(closed->data.at("why"), "no network is left that keeps the constraints");
  run.reset();
  EXPECT_TRUE(open("run")->finished());
}

TEST_F(CampaignTest, ConstraintsThatNothingKeepsAreNamed) {
  const Error none = failure("none", config(small_and("[constraints]\nmacs = 10.0\n")));
  EXPECT_THAT(none.message, HasSubstr("no candidate keeps all constraints (no network is left"));
  const Error slow = failure("slow", config(small_and("[constraints]\nlatency_ms = 0.001\n")));
  EXPECT_THAT(slow.message, AllOf(HasSubstr("too slow"), HasSubstr("loosen [constraints]")));
}

constexpr const char* kEnergy =
    "[budget]\nevaluations = 8\n[search]\npopulation = 4\nobjectives = [\"accuracy\", \"energy\"]\n[finalists]\ncount "
    "= "
    "3\n";

TEST_F(CampaignTest, EnergyIsRefusedWhereItCannotBeMeasured) {
  const Error error = failure("run", config(kEnergy));
  EXPECT_EQ(error.exit_code, ExitCode::usage);
  EXPECT_THAT(error.message, AllOf(HasSubstr("asks for energy"), HasSubstr("device 'local' cannot measure it"),
                                   HasSubstr("no power sensor found")));
  EXPECT_EQ(farm.count(Job::kTrainTeacher), 0u);  // before anything is paid for
}

TEST_F(CampaignTest, EnergyIsAnObjectiveWhereItIsMeasured) {
  farm.device.add_measures("energy");
  farm.device.clear_cannot_measure();
  farm.connect();
  int measurements = 0;
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (!job.has_measure() || ++measurements == 2) return;  // one lacks it
    result.mutable_measurement()->set_energy_gross_mj(9);
    result.mutable_measurement()->set_energy_net_mj(3 * result.measurement().latency_median_ms());
    result.mutable_measurement()->set_energy_provenance("rail");
  };
  const CampaignResult result = finish("run", config(kEnergy));
  EXPECT_EQ(std::ranges::count_if(result.candidates,
                                  [](const CandidatePoint& candidate) {
                                    return candidate.outcome.find("has no energy") != std::string::npos;
                                  }),
            1);
  ASSERT_FALSE(result.models.empty());
  const MeasurementInfo& measurement = result.models[0].files[0].measurements[0];
  ASSERT_TRUE(measurement.energy);
  EXPECT_EQ(measurement.energy->net_mj, 3 * measurement.median_ms);
  for (const Event& event : events("run")) {
    if (event.type == "told" && event.data.at("outcome") == "evaluated")
      EXPECT_EQ(event.data.at("objectives").size(), 2u);
  }
}

TEST_F(CampaignTest, ADeviceWithoutTheRuntimeOrProviderIsRefused) {
  const Error provider = failure("provider", config(small_and("[deploy]\nprovider = \"tensorrt\"\n")));
  EXPECT_EQ(provider.exit_code, ExitCode::usage);
  EXPECT_THAT(provider.message, AllOf(HasSubstr("deploy.provider"), HasSubstr("offers cpu, not 'tensorrt'")));
  farm.device.clear_runtimes();
  farm.connect();
  EXPECT_THAT(failure("runtime", config()).message, HasSubstr("device 'local' has no onnxruntime"));
}

TEST_F(CampaignTest, AnInvalidMeasurementIsTakenAgain) {
  std::map<std::string, int> tries;
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (!job.has_measure() || ++tries[job.measure().model().sha256()] > 2) return;
    result.mutable_measurement()->set_verdict("INVALID");
    result.mutable_measurement()->add_reasons("noise");
    result.mutable_measurement()->set_latency_median_ms(1e9);
  };
  const CampaignResult result = finish("run", config());
  for (const CandidatePoint& candidate : result.candidates) EXPECT_LT(*candidate.latency_ms, 1e6);
  for (const FrontModel& model : result.models) EXPECT_EQ(model.files[0].measurements[0].verdict, "VALID");
  for (const auto& [artifact, count] : tries) EXPECT_EQ(count, 3);
}

TEST_F(CampaignTest, WhatStaysInvalidFailsAndDoesNotCondemnTheNextCampaign) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (!job.has_measure()) return;
    result.mutable_measurement()->set_verdict("INVALID");
    result.mutable_measurement()->add_reasons("throttled");
  };
  const Error error = failure("hot", config());
  EXPECT_THAT(error.message, AllOf(HasSubstr("5 candidates failed and none succeeded"),
                                   HasSubstr("3 measurements of candidate"), HasSubstr("throttled")));
  farm.tamper = {};
  EXPECT_EQ(finish("cool", config()).status, "finished");
}

TEST_F(CampaignTest, ADegradedMeasurementIsKeptAndLabelled) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (!job.has_measure()) return;
    result.mutable_measurement()->set_verdict("DEGRADED");
    result.mutable_measurement()->add_reasons("the governor is not 'performance'");
  };
  const CampaignResult result = finish("run", config());
  ASSERT_FALSE(result.models.empty());
  const MeasurementInfo& measurement = result.models[0].files[0].measurements[0];
  EXPECT_EQ(measurement.verdict, "DEGRADED");
  EXPECT_THAT(measurement.reasons, Each(HasSubstr("governor")));
}

TEST_F(CampaignTest, ATrainedModelThatIsSlowerThanItsScreenIsNamed) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_measure() && job.measure().tier() == "certify")
      result.mutable_measurement()->set_latency_median_ms(1.5 * result.measurement().latency_median_ms());
  };
  for (const FrontModel& model : finish("run", config()).models)
    EXPECT_THAT(model.notes, Contains(HasSubstr("50 % slower than with the random weights")));
}

TEST_F(CampaignTest, ACandidateThatFailsIsToldAndTheCampaignGoesOn) {
  int trainings = 0;
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (job.has_train_candidate() && ++trainings == 3) result.mutable_failure()->set_message("out of memory");
  };
  const CampaignResult result = finish("run", config());
  EXPECT_EQ(result.status, "finished");
  EXPECT_EQ(result.candidates.size(), 9u);
  EXPECT_EQ(std::ranges::count(result.candidates, "failed: out of memory", &CandidatePoint::outcome), 1);
}

TEST_F(CampaignTest, ItStopsWhenNothingSucceedsAndAResumeTriesAgain) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_export_random()) result.mutable_failure()->set_message("the disk is full");
  };
  auto run = create("run", config());
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_THAT(driven.error().message, AllOf(HasSubstr("the disk is full"), HasSubstr("finch resume")));
  run.reset();
  farm.tamper = {};
  run = open("run");
  const auto resumed = drive(*run);
  EXPECT_TRUE(resumed) << resumed.error().message;
}

TEST_F(CampaignTest, AFinalistThatFailsIsLeftOutAndNamed) {
  bool failed = false;
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (job.has_evaluate() && !std::exchange(failed, true))
      result.mutable_failure()->set_message("the file is damaged");
  };
  const CampaignResult result = finish("run", config());
  EXPECT_THAT(result.notes, Contains(AllOf(StartsWith("finalist c"), HasSubstr("failed: the file is damaged"))));
  EXPECT_LE(result.models.size(), 2u);
  EXPECT_GE(result.models.size(), 1u);
}

// Both files' results come in before the campaign looks.
TEST_F(CampaignTest, AFinalistWhoseFilesBothFailFailsOnce) {
  std::string files;  // of the first finalist
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (job.has_train_candidate() && job.train_candidate().precisions_size() == 2 && files.empty()) {
      for (const auto& file : result.trained_candidate().files()) files += file.artifact().sha256() + " ";
    }
    if (job.has_evaluate() && files.contains(job.evaluate().model().sha256())) {
      result.mutable_failure()->set_message("the file is damaged");
    }
  };
  const auto run = create("run", config());
  while (!run->finished()) {
    const auto stepped = run->step(home, store);
    ASSERT_TRUE(stepped) << stepped.error().message;
    farm.serve_all();
  }
  EXPECT_EQ(std::ranges::count(types_of(events("run")), "finalist_failed"), 1);
}

TEST_F(CampaignTest, FinishesEarlyWhenAsked) {
  auto run = create("run", config());
  ASSERT_TRUE(request_finish(folder("run")));  // before anything is known: it waits for the first candidate
  ASSERT_TRUE(drive(*run));
  const auto result = run->result();
  EXPECT_EQ(result->status, "finished early");
  EXPECT_LT(result->candidates.size(), 8u);
  EXPECT_GE(result->models.size(), 1u);
}

TEST_F(CampaignTest, AFinishOfNothingIsRefused) {
  const auto requested = request_finish(folder("nowhere"));
  ASSERT_FALSE(requested);
  EXPECT_EQ(requested.error().exit_code, ExitCode::usage);
}

TEST_F(CampaignTest, TheBudgetKeepsTimeForTheFinalists) {
  // Six minutes; after the first training, which takes 100 s, the finalists need them all.
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_train_candidate()) result.mutable_trained_candidate()->set_seconds(100);
  };
  const CampaignResult result =
      finish("run", config("[budget]\nhours = 0.1\nevaluations = 50\n[finalists]\ncount = 3\n[measure]\nfinalist_tier "
                           "= \"quick\"\n"));
  EXPECT_EQ(result.status, "finished");
  EXPECT_GE(result.candidates.size(), 1u);
  EXPECT_LE(result.candidates.size(), 4u);
  const auto log = events("run");
  EXPECT_EQ(std::ranges::find(log, "search_closed", &Event::type)->data.at("why"), "the budget is used up");
}

TEST_F(CampaignTest, WaitsForItsDevice) {
  farm.disconnect();
  auto run = create("run", config());
  const auto waiting = drive(*run);
  ASSERT_FALSE(waiting);  // the data are read; nothing else can be done
  EXPECT_EQ(farm.count(Job::kInspectData), 1u);
  EXPECT_EQ(farm.served.size(), 1u);
  farm.connect();
  EXPECT_TRUE(drive(*run));
}

TEST_F(CampaignTest, ADeviceThatChangedIsNotedAndMeasuredUnderItsNewState) {
  auto run = create("run", config());
  ASSERT_TRUE(drive(*run, 60));
  ASSERT_FALSE(run->finished());
  run.reset();
  farm.device.set_state_hash("state 2");
  farm.connect();
  run = open("run");
  ASSERT_TRUE(drive(*run));
  EXPECT_THAT(run->result()->notes, Contains(HasSubstr("device local changed after")));
}

TEST_F(CampaignTest, ASecondFinchIsKeptOut) {
  const auto run = create("run", config());
  const auto second = Campaign::open(folder("run"));
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("another finch works on this run folder"));
}

TEST_F(CampaignTest, ADamagedDatabaseIsNamed) {
  create("run", config()).reset();
  for (const auto& entry : std::filesystem::directory_iterator(folder("run"))) {
    if (entry.path().filename().string().starts_with("campaign.db-")) std::filesystem::remove(entry);
  }
  std::ofstream(folder("run") / "campaign.db") << std::string(8192, 'x');
  const auto opened = Campaign::open(folder("run"));
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, AllOf(HasSubstr("campaign.db"), HasSubstr("damaged")));
  EXPECT_THAT(opened.error().message, Not(HasSubstr("\n")));
}

TEST_F(CampaignTest, ACampaignThatNeverBeganIsNamed) {
  std::filesystem::create_directories(folder("run"));
  std::ofstream(folder("run") / "campaign.db") << "";
  const auto opened = Campaign::open(folder("run"));
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("never begun"));
}

// run() itself, with a farm that works beside it.
class RunningCampaignTest : public CampaignTest {
 protected:
  std::jthread serve() {
    return std::jthread([this](std::stop_token stop) {
      while (!stop.stop_requested()) {
        if (!farm.serve_one()) std::this_thread::yield();
      }
    });
  }
};

TEST_F(RunningCampaignTest, RunsToItsEndAndShowsItself) {
  auto run = create("run", config("[budget]\nevaluations = 2\n[search]\npopulation = 4\n[finalists]\ncount = 1\n"));
  std::set<std::string> stages;
  std::vector<std::string> log;
  CampaignStatus last;
  {
    const auto worker = serve();
    const auto ran = run->run(home, store,
                              [&](const CampaignStatus& status) {
                                EXPECT_GE(status.stage_progress, 0);
                                EXPECT_LE(status.stage_progress, 1);
                                stages.insert(status.stage);
                                log.insert(log.end(), status.log.begin(), status.log.end());
                                last = status;
                              },
                              {});
    ASSERT_TRUE(ran) << ran.error().message;
  }
  EXPECT_THAT(stages, Contains("report"));
  EXPECT_THAT(log, Contains(StartsWith("candidate 1: ")));
  EXPECT_THAT(log, Contains(StartsWith("finalist ")));
  EXPECT_EQ(last.evaluated, 2);
  EXPECT_EQ(last.overall_progress, 1);
  EXPECT_FALSE(last.front.empty());
}

TEST_F(RunningCampaignTest, StopsWhenInterruptedTakesItsJobsBackAndCanGoOn) {
  auto run = create("run", config());
  std::stop_source stop;
  const auto ran = run->run(home, store, [&](const CampaignStatus&) { stop.request_stop(); }, stop.get_token());
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().exit_code, ExitCode::interrupted);
  EXPECT_THAT(ran.error().message, HasSubstr("finch resume " + folder("run").string()));
  EXPECT_TRUE(store.queued()->empty());
  run.reset();
  run = open("run");
  const auto driven = drive(*run);
  EXPECT_TRUE(driven) << driven.error().message;
}

}  // namespace
}  // namespace finch::controller
