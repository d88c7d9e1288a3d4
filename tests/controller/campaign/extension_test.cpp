// A campaign goes on with other settings, and what is known is judged anew.
#include "controller/campaign/extension.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class ExtensionTest : public testing::Test, protected CampaignFixture {
 protected:
  std::unique_ptr<CampaignRun> extend(const std::string& name, const CampaignConfig& to) {
    auto campaign = Campaign::extend(to, folder(name));
    EXPECT_TRUE(campaign) << campaign.error().message;
    return std::unique_ptr<CampaignRun>(dynamic_cast<CampaignRun*>(campaign->release()));
  }
  // The end of a campaign that was extended, and what it shows; read again from its log it is the same.
  CampaignResult finish_extended(const std::string& name, const CampaignConfig& to) {
    auto run = extend(name, to);
    const auto driven = drive(*run);
    EXPECT_TRUE(driven) << driven.error().message;
    const auto result = run->result().value();
    run.reset();
    const auto again = open(name)->result().value();
    EXPECT_EQ(again.models.size(), result.models.size());
    EXPECT_EQ(again.candidates.size(), result.candidates.size());
    EXPECT_EQ(again.notes, result.notes);
    return result;
  }
  static std::string budget(int evaluations) {
    return std::format("[budget]\nevaluations = {}\n[search]\npopulation = 4\n[finalists]\ncount = 3\n", evaluations);
  }
};

TEST_F(ExtensionTest, AddsEvaluationsAndTrainsNothingTwice) {
  const CampaignResult before = finish("run", config(budget(6)));
  farm.served.clear();
  const CampaignResult after = finish_extended("run", config(budget(10)));
  EXPECT_EQ(after.status, "finished");
  ASSERT_EQ(after.candidates.size(), 10u);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(after.candidates[i].id, before.candidates[i].id);
    EXPECT_EQ(after.candidates[i].genotype, before.candidates[i].genotype);
    EXPECT_EQ(after.candidates[i].validation_top1, before.candidates[i].validation_top1);
  }
  EXPECT_EQ(farm.count(Job::kExportRandom), 4u);
  EXPECT_EQ(farm.count(Job::kTrainTeacher), 0u);
  EXPECT_THAT(after.notes, Contains("extended after 6 evaluations: budget.evaluations: 6 -> 10"));
}

TEST_F(ExtensionTest, KeepsTheFinalistsThatItHas) {
  const auto finalists = [&] {
    std::set<search::CandidateId> ids;
    for (const Event& event : events("run")) {
      if (event.type == "finalists") ids = event.data.at("ids").get<std::set<search::CandidateId>>();
    }
    return ids;
  };
  const auto last = [](int evaluations) {
    return std::format("[budget]\nevaluations = {}\n[search]\npopulation = 4\n[finalists]\ncount = 1\n", evaluations);
  };
  finish("run", config(last(2)));
  const auto first = finalists();
  finish_extended("run", config(last(9)));
  const auto second = finalists();
  farm.served.clear();
  finish_extended("run", config(last(16)));
  const auto third = finalists();
  EXPECT_TRUE(std::ranges::includes(second, first));
  EXPECT_TRUE(std::ranges::includes(third, second));
  EXPECT_GT(third.size(), first.size());
  const auto trained = std::ranges::count_if(farm.served, [](const Job& job) {
    return job.has_train_candidate() && job.train_candidate().precisions_size() > 0;
  });
  EXPECT_EQ(trained, std::ssize(third) - std::ssize(second));
}

TEST_F(ExtensionTest, TighterConstraintsDropWhatIsKnownToBreakThem) {
  const CampaignResult before = finish("run", config(budget(6)));
  std::vector<double> latencies;
  for (const CandidatePoint& candidate : before.candidates) latencies.push_back(*candidate.latency_ms);
  std::ranges::sort(latencies);
  const double limit = latencies[2];
  const CampaignResult after =
      finish_extended("run", config(budget(6) + std::format("[constraints]\nlatency_ms = {}\nmacs = 1e9\n", limit)));
  std::size_t evaluated = 0;
  for (const CandidatePoint& candidate : after.candidates) {
    EXPECT_EQ(candidate.outcome, *candidate.latency_ms > limit ? "too slow" : "evaluated");
    evaluated += candidate.outcome == "evaluated";
  }
  EXPECT_EQ(evaluated, 6u);
  EXPECT_GT(after.candidates.size(), 6u);
  for (const FrontModel& model : after.models) EXPECT_LE(model.screen_latency_ms, limit);

  const double macs = static_cast<double>(std::ranges::min(after.candidates, {}, &CandidatePoint::macs).macs);
  const CampaignResult smallest =
      finish_extended("run", config(std::format("[budget]\nevaluations = 1\n[finalists]\ncount = 1\n"
                                                "[constraints]\nmacs = {}\n[search]\npopulation = 4\n",
                                                macs)));
  for (const CandidatePoint& candidate : smallest.candidates)
    EXPECT_EQ(candidate.outcome, static_cast<double>(candidate.macs) > macs ? "too large" : "evaluated");
}

TEST_F(ExtensionTest, LooserConstraintsTrainWhatWasTooSlow) {
  const CampaignResult before = finish("run", config(budget(4) + "[constraints]\nlatency_ms = 1.0\n"));
  const auto slow = std::ranges::count(before.candidates, "too slow", &CandidatePoint::outcome);
  ASSERT_GT(slow, 0);
  farm.served.clear();
  const CampaignResult after = finish_extended("run", config(budget(4 + static_cast<int>(slow))));
  EXPECT_EQ(after.candidates.size(), before.candidates.size());
  for (const CandidatePoint& candidate : after.candidates) EXPECT_EQ(candidate.outcome, "evaluated");
  EXPECT_EQ(farm.count(Job::kExportRandom), 0u);  // measured already
}

TEST_F(ExtensionTest, ANewDeviceMeasuresWhatIsKnown) {
  finish("run", config(budget(5)));
  farm.served.clear();
  farm.connect_another("pi", 3);
  const CampaignResult after = finish_extended("run", config("[[device]]\nname = \"pi\"\n" + budget(5)));
  EXPECT_EQ(after.candidates.size(), 5u);
  for (const CandidatePoint& candidate : after.candidates) EXPECT_EQ(candidate.latency_by_device_ms.size(), 2u);
  for (const Job& job : farm.served) {
    if (job.has_measure()) EXPECT_EQ(job.measure().device(), "pi");
    EXPECT_FALSE(job.has_train_candidate() && job.train_candidate().precisions().empty());
  }
  ASSERT_FALSE(after.models.empty());
  EXPECT_EQ(after.models.front().files.front().measurements.size(), 2u);
}

TEST_F(ExtensionTest, AnUnfinishedCampaignIsExtendedToo) {
  auto run = create("run", config(budget(6)));
  ASSERT_TRUE(drive(*run, 20));
  ASSERT_FALSE(run->finished());
  run.reset();
  EXPECT_EQ(finish_extended("run", config(budget(7))).candidates.size(), 7u);
}

TEST_F(ExtensionTest, RefusesWhatWouldMakeItIncomparable) {
  finish("run", config(budget(5)));
  const auto refused = [&](const CampaignConfig& to) {
    const auto extended = Campaign::extend(to, folder("run"));
    EXPECT_FALSE(extended);
    EXPECT_EQ(extended.error().exit_code, ExitCode::usage);
    return extended.error().message;
  };
  EXPECT_THAT(refused(config(budget(9) + "[train]\nepochs = 2.0\n")),
              AllOf(HasSubstr("small.toml: train.epochs is 2.0 here and was 1.0 in the campaign"),
                    HasSubstr("not be comparable")));
  EXPECT_THAT(refused(config(budget(9) + "[deploy]\nprecision = \"int8\"\n")), HasSubstr("deploy.precision"));
  EXPECT_THAT(refused(config(budget(5))), HasSubstr("nothing differs"));
  EXPECT_THAT(events("run").back().type, "finished");  // nothing was written
}

TEST_F(ExtensionTest, NamesEveryChange) {
  const auto changes = changes_of_extension(
      config(budget(5)),
      config("threads = 2\n[budget]\nevaluations = 6\n[search]\npopulation = 4\n[finalists]\ncount = 3\n"));
  ASSERT_TRUE(changes) << changes.error().message;
  EXPECT_THAT(*changes, ElementsAre("budget.evaluations: 5 -> 6", "device local.threads: 1 -> 2"));
}

TEST_F(ExtensionTest, ASpacesFileMayLieElsewhereButSaysTheSame) {
  CampaignConfig before = config(budget(5)), now = config(budget(6));
  before.space_file = SpaceFile{.file = "/there/space.toml", .definition = "[stem]\n", .config = {}};
  now.space_file = SpaceFile{.file = "/here/space.toml", .definition = "[stem]\n", .config = {}};
  EXPECT_THAT(changes_of_extension(before, now).value(), ElementsAre("budget.evaluations: 5 -> 6"));
  now.space_file->definition = "[head]\n";
  EXPECT_THAT(changes_of_extension(before, now).error().message, HasSubstr("space.definition"));
}

}  // namespace
}  // namespace finch::controller
