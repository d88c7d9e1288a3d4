// A campaign is killed again and again: what it does in the end is what it would have done.
#include <gmock/gmock.h>

#include <random>
#include <set>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

constexpr int kSeeds = 50;
constexpr int kSeedsOfSteps = 10;  // most of whose campaign is like the others'

// A campaign of each way to train.
class CampaignResumeTest : public testing::TestWithParam<const char*> {
 protected:
  static int seeds() { return std::string(GetParam()).starts_with("steps") ? kSeedsOfSteps : kSeeds; }
  static CampaignConfig config(const CampaignFixture& fixture) {
    return fixture.config(CampaignFixture::kSmall + std::string(GetParam()));
  }
};

INSTANTIATE_TEST_SUITE_P(Modes, CampaignResumeTest,
                         testing::Values("[train]\nmode = \"standalone\"\n", "[train]\nmode = \"supernet\"\n",
                                         "steps = [\"prune=0.3\", \"distill\", \"quantize\"]\n"));

// What a kill leaves behind: only the first `count` events.
void truncate_log(const std::filesystem::path& file, std::int64_t count) {
  auto database = Database::open(file, 1, "");
  ASSERT_TRUE(database);
  ASSERT_TRUE(database->transact([&] {
    database->prepare("DELETE FROM events WHERE sequence > ?").bind(count).run();
    database->prepare("UPDATE sqlite_sequence SET seq = ?").bind(count).run();
  }));
}

// Type and content of all events but the first, which names the run.
std::vector<std::string> contents(const std::vector<Event>& events) {
  std::vector<std::string> lines;
  for (const Event& event : events) {
    if (event.type != "created") lines.push_back(event.type + " " + event.data.dump());
  }
  return lines;
}

void expect_same(const std::vector<std::string>& log, const std::vector<std::string>& expected) {
  const auto [is, should] = std::ranges::mismatch(log, expected);
  if (is != log.end() || should != expected.end()) {
    ADD_FAILURE() << "event " << is - log.begin() + 2 << " is " << (is == log.end() ? "missing" : *is) << ", not "
                  << (should == expected.end() ? "the end" : *should);
  }
}

// Nothing doubled, nothing lost, and a fresh algorithm, given the recorded outcomes, proposes what was recorded.
void expect_sound(const std::vector<Event>& events, const CampaignConfig& config) {
  search::AlgorithmConfig settings;
  settings.seed = config.seed;
  settings.population = static_cast<std::size_t>(config.search.population);
  const auto space = search::make_search_space({.name = "mobilenet", .image = {1, 28, 28}, .classes = 3}).value();
  const auto algorithm = search::make_search_algorithm(settings, *space).value();

  std::set<std::string> seen;
  std::size_t asked = 0, told = 0;
  double seconds = 0;
  for (const Event& event : events) {
    EXPECT_GE(event.seconds, seconds);
    seconds = event.seconds;
    std::string what = event.type + event.data.value("id", nlohmann::json()).dump() +
                       event.data.value("precision", "") + event.data.value("text", "");
    if (event.type == "finalist_step") what += event.data.at("type").dump() + event.data.at("step").dump();
    EXPECT_TRUE(seen.insert(what).second) << what << " is in the log twice";
    if (event.type == "asked") {
      const auto proposals = algorithm->ask(1);
      ASSERT_EQ(proposals.size(), 1u);
      EXPECT_EQ(proposals.front().id, ++asked);
      EXPECT_EQ(event.data.at("id"), asked);
      EXPECT_EQ(event.data.at("genotype"), search::to_string(proposals.front().genotype));
    }
    if (event.type == "told") {
      ++told;
      EXPECT_TRUE(seen.contains("trained" + event.data.at("id").dump()));
      algorithm->tell(event.data.at("id"), {event.data.at("objectives").get<std::vector<double>>(), 0});
    }
  }
  EXPECT_EQ(asked, told);
  EXPECT_EQ(told, static_cast<std::size_t>(*config.budget.evaluations));
  EXPECT_TRUE(seen.contains("finishednull"));
}

// Runs the campaign to its end; after a random number of steps it dies between two events, or between an event and the
// effect it should have had.
void run_and_kill(CampaignFixture& fixture, const CampaignConfig& config, std::mt19937& random,
                  const std::function<void()>& while_dead) {
  auto run = fixture.create("run", config);
  for (;;) {
    const auto driven = fixture.drive(*run, random() % 40);
    ASSERT_TRUE(driven) << driven.error().message;
    if (run->finished()) return;
    const auto before = run->recorded();
    ASSERT_TRUE(run->step(fixture.home, fixture.store));
    const auto after = run->recorded();
    run.reset();
    truncate_log(fixture.folder("run") / "campaign.db",
                 before + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(after - before + 1)));
    while_dead();
    run = fixture.open("run");
  }
}

TEST_P(CampaignResumeTest, GoesOnAsIfNothingHadHappened) {
  CampaignFixture whole;
  whole.finish("run", config(whole));
  const auto expected = contents(whole.events("run"));
  for (int seed = 0; seed < seeds(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(static_cast<unsigned>(seed));
    CampaignFixture fixture;
    run_and_kill(fixture, config(fixture), random, [] {});
    expect_same(contents(fixture.events("run")), expected);
    EXPECT_EQ(fixture.farm.served.size(), whole.farm.served.size());
    if (HasFailure()) break;
  }
}

TEST_P(CampaignResumeTest, LosesAndDoublesNothingWhileTheFarmGoesOn) {
  for (int seed = 0; seed < seeds(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(static_cast<unsigned>(1000 + seed));
    CampaignFixture fixture;
    run_and_kill(fixture, config(fixture), random, [&] {
      for (auto jobs = random() % 4; jobs > 0; --jobs) fixture.farm.serve_one();
    });
    expect_sound(fixture.events("run"), config(fixture));
    for (const auto& [key, completions] : fixture.farm.completions) EXPECT_EQ(completions, 1);
    if (testing::Test::HasFailure()) break;
  }
}

TEST_P(CampaignResumeTest, CountsItsTimeOverAllProcesses) {
  CampaignFixture fixture;
  auto run = fixture.create("run", config(fixture));
  ASSERT_TRUE(fixture.drive(*run, 30));
  run.reset();
  const double before = fixture.events("run").back().seconds;
  run = fixture.open("run");
  ASSERT_TRUE(fixture.drive(*run));
  EXPECT_GE(fixture.events("run").back().seconds, before);
  expect_sound(fixture.events("run"), config(fixture));
}

}  // namespace
}  // namespace finch::controller
