#include "controller/campaign/finalist_choice.hpp"

#include <gmock/gmock.h>

namespace finch::controller {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class FinalistChoiceTest : public testing::Test {
 protected:
  void add(search::CandidateId id, double latency_ms, std::vector<double> objectives, double violation = 0) {
    CandidateState candidate;
    candidate.id = id;
    candidate.screens["local"].set_latency_median_ms(latency_ms);
    candidate.outcome = violation > 0 ? "too slow" : kEvaluated;
    candidate.told = search::Outcome{.objectives = std::move(objectives), .violation = violation};
    state_.candidates[id] = std::move(candidate);
  }
  std::vector<search::CandidateId> choose(std::int64_t count) {
    state_.config.finalists.count = count;
    return choose_finalists(state_);
  }
  CampaignState state_;
};

TEST_F(FinalistChoiceTest, WithoutCandidatesThereIsNone) {
  EXPECT_THAT(choose(3), IsEmpty());
  add(1, 1, {}, 0.5);                       // too slow: never trained
  state_.candidates[2] = CandidateState{};  // still under way
  EXPECT_THAT(choose(3), IsEmpty());
}

TEST_F(FinalistChoiceTest, SpreadsOverTheLatenciesOfTheFront) {
  // A front: the slower, the fewer errors.
  add(1, 1.0, {0.5, 1.0});
  add(2, 1.1, {0.45, 1.1});
  add(3, 3.0, {0.3, 3.0});
  add(4, 9.0, {0.1, 9.0});
  add(5, 9.5, {0.05, 9.5});
  EXPECT_THAT(choose(1), ElementsAre(5));
  EXPECT_THAT(choose(2), ElementsAre(5, 1));
  EXPECT_THAT(choose(3), ElementsAre(5, 1, 3));
}

TEST_F(FinalistChoiceTest, WhatIsDominatedComesLast) {
  add(1, 1.0, {0.5, 1.0});
  add(2, 4.0, {0.2, 4.0});
  add(3, 2.0, {0.6, 2.0});  // far from both, but 1 is better in everything
  EXPECT_THAT(choose(2), ElementsAre(2, 1));
  EXPECT_THAT(choose(9), ElementsAre(2, 1, 3));
}

TEST_F(FinalistChoiceTest, ThoseOfBeforeAnExtensionStayWhileTheyKeepTheConstraints) {
  add(1, 1.0, {0.5, 1.0});
  add(2, 4.0, {0.2, 4.0});
  add(3, 2.0, {0.6, 2.0});
  add(4, 3.0, {}, 0.1);
  state_.former_finalists = {2, 3, 4};
  EXPECT_THAT(choose(1), ElementsAre(2, 3));
  EXPECT_THAT(choose(2), ElementsAre(2, 1, 3));
}

TEST_F(FinalistChoiceTest, WhoseTrainingWasCutShortIsNoFinalist) {
  add(1, 1.0, {0.5, 1.0});
  add(2, 4.0, {0.2, 4.0});
  state_.candidates.at(2).outcome = "stopped";
  EXPECT_THAT(choose(2), ElementsAre(1));
}

TEST_F(FinalistChoiceTest, WhatBreaksAConstraintIsNoFinalist) {
  add(1, 1.0, {0.5, 1.0});
  add(2, 4.0, {0.2, 4.0}, 0.1);
  EXPECT_THAT(choose(2), ElementsAre(1));
}

}  // namespace
}  // namespace finch::controller
