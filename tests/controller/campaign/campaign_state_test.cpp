// A log that does not fit is named, whatever is wrong with it.
#include "controller/campaign/campaign_state.hpp"

#include <gmock/gmock.h>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CampaignStateTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    CampaignFixture fixture;
    fixture.finish("run", fixture.config());
    events_ = new std::vector<Event>(fixture.events("run"));
    folder_ = new MemoryFolder;
    // The campaign's folder is gone by now, and a configuration names data that are there.
    auto config = fixture.config();
    config.data.path = folder_->path();
    events_->front().data["config"] = resolved_toml(config);
  }
  static void TearDownTestSuite() {
    delete events_;
    delete folder_;
  }

  static std::size_t first(const std::string& type) {
    return static_cast<std::size_t>(std::ranges::find(*events_, type, &Event::type) - events_->begin());
  }
  // The first error that the events lead to; empty when there is none.
  static std::string replay(const std::vector<Event>& events) {
    CampaignState state;
    for (const Event& event : events) {
      if (const auto applied = state.apply(event); !applied) return applied.error().message;
    }
    return "";
  }

  inline static std::vector<Event>* events_ = nullptr;
  inline static MemoryFolder* folder_ = nullptr;
};

TEST_F(CampaignStateTest, TheSameEventsGiveTheSameState) {
  CampaignState state;
  for (const Event& event : *events_) {
    const auto applied = state.apply(event);
    ASSERT_TRUE(applied) << applied.error().message;
  }
  EXPECT_EQ(state.status, "finished");
  EXPECT_EQ(state.evaluated, 8);
  EXPECT_EQ(state.finalists->size(), 3u);
  EXPECT_EQ(state.in_flight(), 0u);
  for (const auto& [id, candidate] : state.candidates) {
    EXPECT_EQ(candidate.told->objectives,
              state.objectives(accuracies_of(*candidate.trained), candidate.screens, candidate.cost));
  }
}

TEST_F(CampaignStateTest, NamesAProposalThatDiffers) {
  auto events = *events_;
  Event& asked = events[first("asked")];
  asked.data["genotype"] = "1,2,3";
  EXPECT_THAT(replay(events), AllOf(HasSubstr(std::format("event {}: the search proposed 1,2,3 then", asked.sequence)),
                                    HasSubstr("another version of Finch")));
}

TEST_F(CampaignStateTest, NamesAnEventOfANewerFinch) {
  auto events = *events_;
  events[3].type = "pruned";
  EXPECT_THAT(replay(events), AllOf(HasSubstr("'pruned' is not known"), HasSubstr("newer version")));
}

TEST_F(CampaignStateTest, NamesAnEventThatDoesNotFit) {
  const auto without = [](const std::string& type, const char* key) {
    auto events = *events_;
    events[first(type)].data.erase(key);
    return replay(events);
  };
  EXPECT_THAT(without("created", "run_id"), HasSubstr("event 1 (created) of this campaign is damaged"));
  EXPECT_THAT(without("device", "device"), HasSubstr("(device) of this campaign is damaged"));
  EXPECT_THAT(without("screened", "result"), HasSubstr("(screened) of this campaign is damaged"));
  EXPECT_THAT(without("told", "objectives"), HasSubstr("(told) of this campaign is damaged"));
  EXPECT_THAT(without("finalist_measured", "precision"), HasSubstr("(finalist_measured) of this campaign is damaged"));

  auto events = *events_;
  events[first("trained")].data["result"] = {{"validationTop1", "much"}};
  EXPECT_THAT(replay(events), HasSubstr("(trained) of this campaign is damaged"));
  events = *events_;
  events[first("trained")].data["id"] = 99;
  EXPECT_THAT(replay(events), HasSubstr("(trained) of this campaign is damaged"));
}

TEST_F(CampaignStateTest, NamesAnEventThatComesTooEarlyOrTwice) {
  for (const char* type : {"asked", "screened", "told", "finalists", "finalist_trained"}) {
    EXPECT_THAT(replay({events_->front(), events_->at(first(type))}), HasSubstr("of this campaign is damaged")) << type;
  }
  auto events = *events_;
  const auto told = events.begin() + static_cast<std::ptrdiff_t>(first("told"));
  events.insert(told, *told);
  EXPECT_THAT(replay(events), HasSubstr("told before"));
}

}  // namespace
}  // namespace finch::controller
