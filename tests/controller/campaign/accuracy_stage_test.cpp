// What a campaign does with which class was taken for which: other metrics, least accuracies, ties, several seeds.
#include <gmock/gmock.h>

#include <cmath>

#include "controller/campaign/accuracy_statistics.hpp"
#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr std::int64_t kValidationImages = 900, kTestImages = 200;

class AccuracyStageTest : public testing::Test, protected CampaignFixture {
 protected:
  AccuracyStageTest() {
    farm.tamper = [](const Job& job, protocol::JobResult& result) { tell_classes(job, result); };
  }

  static std::string small_and(const std::string& tables) { return kSmall + tables; }

  // Three classes of equal size; all errors are stars taken for squares.
  static void tell_classes(const Job& job, protocol::JobResult& result) {
    if (result.has_data_facts()) {
      for (int i = 0; i < kTestImages; ++i) result.mutable_data_facts()->add_test_labels(i % 2 == 0 ? 2 : i / 2 % 2);
    }
    if (result.has_trained_candidate()) {
      auto& trained = *result.mutable_trained_candidate();
      const auto wrong = std::lround((1 - trained.validation_top1()) * kValidationImages);
      for (const auto& [label, told, count] :
           {std::tuple{0, 0, 300L}, std::tuple{1, 1, 300L}, std::tuple{2, 1, wrong}, std::tuple{2, 2, 300L - wrong}}) {
        trained.mutable_validation()->add_label(label);
        trained.mutable_validation()->add_prediction(told);
        trained.mutable_validation()->add_count(count);
      }
    }
    if (result.has_evaluation()) {
      auto& evaluation = *result.mutable_evaluation();
      const auto wrong = std::lround((1 - evaluation.top1()) * kTestImages);
      for (int i = 0; i < kTestImages; ++i) {
        const int label = i % 2 == 0 ? 2 : i / 2 % 2;
        evaluation.add_predictions(label == 2 && i / 2 < wrong ? 1 : label);
      }
      evaluation.set_top1(1 - static_cast<double>(wrong) / kTestImages);
    }
    (void)job;
  }
};

TEST_F(AccuracyStageTest, EveryAccuracyHasItsInterval) {
  const CampaignResult result = finish("run", config());
  ASSERT_FALSE(result.models.empty());
  EXPECT_THAT(result.class_names, testing::ElementsAre("circle", "square", "star"));
  EXPECT_LT(result.teacher_ci_low, result.teacher_top1);
  EXPECT_LT(result.teacher_top1, result.teacher_ci_high);
  for (const CandidatePoint& candidate : result.candidates) {
    EXPECT_LT(candidate.validation_ci_low, *candidate.validation_top1);
    EXPECT_LT(*candidate.validation_top1, candidate.validation_ci_high);
  }
  for (const FrontModel& model : result.models) {
    EXPECT_LT(model.validation_ci_low, model.validation_top1);
    for (const ModelFile& file : model.files) {
      const Interval wilson = wilson_interval(file.accuracy->top1 * kTestImages, kTestImages);
      EXPECT_DOUBLE_EQ(file.accuracy->ci_low, wilson.low);
      EXPECT_DOUBLE_EQ(file.accuracy->ci_high, wilson.high);
      ASSERT_THAT(file.accuracy->metrics, SizeIs(3));
      const MetricInfo& worst = file.accuracy->metrics.back();
      EXPECT_EQ(worst.name, "worst_class_recall");
      EXPECT_NEAR(worst.value, 1 - 2 * (1 - file.accuracy->top1), 1e-12);
      EXPECT_LT(worst.ci_low, worst.value);
      EXPECT_LT(worst.value, worst.ci_high);
      EXPECT_EQ((file.accuracy->confusion.at({2, 1})), std::lround((1 - file.accuracy->top1) * kTestImages));
    }
  }
}

TEST_F(AccuracyStageTest, ModelsThatTheTestImagesDoNotTellApartAreMarked) {
  const CampaignResult result = finish("run", config());
  ASSERT_GE(result.models.size(), 2u);
  const auto images = [&](const FrontModel& model) { return model.files.front().accuracy->top1 * kTestImages; };
  // The errors of one are among those of the other: of 200 images it takes at least 6 to tell them apart.
  for (const FrontModel& model : result.models) {
    for (const FrontModel& other : result.models) {
      if (model.id == other.id) continue;
      const bool tied = std::ranges::find(model.tied_with, other.id) != model.tied_with.end();
      if (std::abs(images(model) - images(other)) < 5.5) {
        EXPECT_TRUE(tied) << model.id << " " << other.id;
      }
      if (std::abs(images(model) - images(other)) > 12) {
        EXPECT_FALSE(tied) << model.id << " " << other.id;
      }
    }
  }
}

TEST_F(AccuracyStageTest, ResultsOfAnEarlierFinchHaveAnIntervalAndNothingMore) {
  farm.tamper = {};
  const CampaignResult result = finish("run", config());
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    EXPECT_THAT(model.tied_with, IsEmpty());
    for (const ModelFile& file : model.files) {
      EXPECT_LT(file.accuracy->ci_low, file.accuracy->top1);
      EXPECT_THAT(file.accuracy->metrics, IsEmpty());
    }
  }
}

TEST_F(AccuracyStageTest, AnotherMetricIsTheObjective) {
  finish("run", config("[budget]\nevaluations = 8\n[finalists]\ncount = 3\n[search]\npopulation = 4\nobjectives = "
                       "[\"worst_class_recall\", \"latency\"]\n"));
  std::map<std::uint64_t, std::int64_t> wrong;
  int told = 0;
  for (const Event& event : events("run")) {
    if (event.type == "trained")
      wrong[event.data.at("id")] =
          std::stol(event.data.at("result").at("validation").at("count").at(2).get<std::string>());
    if (event.type != "told") continue;
    ++told;
    const double expected = 100.0 * static_cast<double>(wrong.at(event.data.at("id"))) / 300;
    EXPECT_NEAR(event.data.at("objectives").at(0), expected, 1e-9);
  }
  EXPECT_EQ(told, 8);
}

TEST_F(AccuracyStageTest, AMetricThatNobodyTellsIsAFailureThatSaysWhy) {
  farm.tamper = {};
  auto run = create("run", config(small_and("[constraints]\nmin_macro_f1 = 0.5\n")));
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_THAT(driven.error().message, HasSubstr("the trainer gave no confusion matrix"));
}

TEST_F(AccuracyStageTest, CandidatesBelowALeastAccuracyAreNoFinalists) {
  // Half of the candidates' worst classes, by a first run.
  std::vector<double> recalls;
  for (const CandidatePoint& candidate : finish("first", config()).candidates)
    recalls.push_back(1 - 3 * (1 - std::round(*candidate.validation_top1 * kValidationImages) / kValidationImages));
  std::ranges::sort(recalls);
  const double least = (recalls[3] + recalls[4]) / 2;
  finish("run", config(small_and(std::format("[constraints]\nmin_worst_class_recall = {}\n", least))));
  std::set<std::uint64_t> evaluated, inaccurate;
  for (const Event& event : events("run")) {
    if (event.type == "told") {
      const bool enough = event.data.at("outcome") == "evaluated";
      EXPECT_EQ(enough, event.data.at("violation") == 0);
      (enough ? evaluated : inaccurate).insert(event.data.at("id").get<std::uint64_t>());
    }
    if (event.type != "finalists") continue;
    for (const std::uint64_t id : event.data.at("ids")) EXPECT_TRUE(evaluated.contains(id)) << id;
  }
  EXPECT_EQ(evaluated.size() + inaccurate.size(), 8u);  // each has cost a training
  EXPECT_FALSE(evaluated.empty());
  EXPECT_FALSE(inaccurate.empty());
}

TEST_F(AccuracyStageTest, WhereNoneIsAccurateEnoughSomeAreTrainedOnAndJudgedByTheTestImages) {
  const CampaignResult result = finish("run", config(small_and("[constraints]\nmin_top1 = 0.999\n")));
  EXPECT_THAT(result.models, IsEmpty());
  EXPECT_THAT(result.notes, Contains(HasSubstr("on the test images, below constraints.min_top1")).Times(3));
}

TEST_F(AccuracyStageTest, FinalistsAreTrainedWithSeveralSeedsAndTheMedianIsDeployed) {
  const CampaignResult result = finish("run", config("[budget]\nevaluations = 8\n[search]\npopulation = 4\n"
                                                     "[finalists]\ncount = 3\nseeds = 3\n"));
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    ASSERT_THAT(model.seeds, SizeIs(3));
    std::vector<double> validation;
    for (const SeedInfo& seed : model.seeds) validation.push_back(seed.validation_top1);
    std::ranges::sort(validation);
    EXPECT_LT(validation[0], validation[1]);
    EXPECT_EQ(std::ranges::count(model.seeds, true, &SeedInfo::deployed), 1);
    const auto deployed = std::ranges::find(model.seeds, true, &SeedInfo::deployed);
    EXPECT_EQ(deployed->validation_top1, validation[1]);
    EXPECT_EQ(model.validation_top1, validation[1]);
    EXPECT_EQ(deployed->test_top1, model.files.front().accuracy->top1);
    for (const ModelFile& file : model.files)
      EXPECT_EQ(protocol::sha256_of_file(folder("run") / file.path).value(), file.sha256);
  }
  // The others are tested, and not measured.
  std::set<std::string> measured, tested;
  for (const Job& job : farm.served) {
    if (job.has_measure() && job.measure().tier() == "certify") measured.insert(job.measure().model().sha256());
    if (job.has_evaluate()) tested.insert(job.evaluate().model().sha256());
  }
  EXPECT_EQ(measured.size(), 6u);
  EXPECT_EQ(tested.size(), 6u + 2 * 3u);
}

TEST_F(AccuracyStageTest, AResumedCampaignDeploysTheSameSeed) {
  const std::string tables = "[budget]\nevaluations = 5\n[search]\npopulation = 4\n[finalists]\ncount = 2\nseeds = 2\n";
  finish("whole", config(tables));
  for (const std::size_t steps : {60u, 70u, 80u}) {
    CampaignFixture other;
    other.farm.tamper = farm.tamper;
    auto run = other.create("run", other.config(tables));
    ASSERT_TRUE(other.drive(*run, steps));
    run.reset();
    run = other.open("run");
    ASSERT_TRUE(other.drive(*run));
    EXPECT_EQ(types_of(other.events("run")), types_of(events("whole")));
    const auto result = run->result();
    ASSERT_TRUE(result);
    for (const FrontModel& model : result->models) {
      ASSERT_THAT(model.seeds, SizeIs(2));
      const auto& [first, second] = std::tie(model.seeds[0], model.seeds[1]);
      EXPECT_EQ(first.deployed, first.validation_top1 < second.validation_top1);
    }
  }
}

}  // namespace
}  // namespace finch::controller
