#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "controller/report/live_view.hpp"
#include "controller/report/log_view.hpp"

namespace finch::controller {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

CampaignStatus searching() {
  CampaignStatus status;
  status.campaign = "quickstart";
  status.run_folder = "runs/quickstart";
  status.stage = "search";
  status.stage_detail = "candidate 12: training";
  status.stage_progress = 0.5;
  status.overall_progress = 0.4;
  status.elapsed = std::chrono::seconds(185);
  status.remaining = std::chrono::seconds(300);
  status.asked = 13;
  status.evaluated = 9;
  status.dropped = 2;
  status.evaluation_budget = 16;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    status.front.push_back({.id = i,
                            .top1 = 0.8 + 0.005 * static_cast<double>(i),
                            .latency_ms = 0.05 * static_cast<double>(i),
                            .parameters = 9000,
                            .macs = 300000});
  }
  status.workers = {{"local", "agent", "measuring candidate 13 (quick)", 0.3},
                    {"local-trainer", "trainer", "paused while local measures", 0.7}};
  return status;
}

std::string logged(LogView& view, std::FILE* file, const CampaignStatus& status) {
  view.show(status);
  std::string text(static_cast<std::size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::rewind(file);
  return text;
}

TEST(ClockText, IsReadable) {
  EXPECT_EQ(clock_text(std::chrono::seconds(5)), "0:05");
  EXPECT_EQ(clock_text(std::chrono::seconds(185)), "3:05");
  EXPECT_EQ(clock_text(std::chrono::seconds(7384)), "2:03:04");
}

TEST(LogView, WritesEventsAtOnceAndProgressOnceInAWhile) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  LogView view(file);
  CampaignStatus status = searching();
  status.log = {"candidate 12: 0.231 ms"};
  const std::string first = logged(view, file, status);
  EXPECT_THAT(first, HasSubstr("[   3:05] stage: search\n"));
  EXPECT_THAT(first, HasSubstr("[   3:05] candidate 12: 0.231 ms\n"));
  EXPECT_THAT(first, Not(HasSubstr("search 50 %")));
  EXPECT_THAT(first, Not(HasSubstr("\x1b")));
  status.log.clear();
  status.elapsed += std::chrono::seconds(20);
  EXPECT_EQ(logged(view, file, status),
            "[   3:25] search 50 %, candidate 12: training, 9 evaluated, front 20, about 5:00 left\n");
  std::fclose(file);
}

TEST(LivePicture, ShowsStageFrontAndWorkers) {
  const std::string picture = live_picture(searching(), 100);
  for (const char* part :
       {"quickstart", "3:05, about 5:00 left", "search", "50 %", "9 evaluated of 16", "front (20)",
        "measuring candidate 13 (quick)", "paused while local measures", "finch resume runs/quickstart"}) {
    EXPECT_THAT(picture, HasSubstr(part));
  }
  EXPECT_THAT(picture, HasSubstr("90.00 %"));  // the slowest of a long front is never cut off
}

TEST(LivePicture, OfAFinishedCampaignHasNothingToStop) {
  CampaignStatus status = searching();
  status.stage = "report";
  const std::string picture = live_picture(status, 100);
  EXPECT_THAT(picture, HasSubstr("front (20)"));
  EXPECT_THAT(picture, testing::Not(HasSubstr("Ctrl-C")));
  EXPECT_THAT(picture, testing::Not(HasSubstr("workers")));
}

TEST(LivePicture, NeedsNeitherFrontNorWorkers) {
  const std::string picture = live_picture(CampaignStatus{}, 20);
  EXPECT_THAT(picture, HasSubstr("no candidate evaluated"));
}

}  // namespace
}  // namespace finch::controller
