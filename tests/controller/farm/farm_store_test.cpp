#include "controller/farm/farm_store.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "protocol/farm.pb.h"
#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Submission job(const std::string& key, const std::string& campaign = "first", int priority = 0) {
  return {.key = key, .campaign = campaign, .target = "", .priority = priority, .job = "spec of " + key};
}

std::string failure_of(const JobStatus& status) {
  protocol::JobResult result;
  EXPECT_TRUE(result.ParseFromString(status.result));
  return result.failure().message();
}

class FarmStoreTest : public testing::Test {
 protected:
  FarmStore open() {
    auto store = FarmStore::open(file());
    if (!store) throw std::runtime_error(store.error().message);
    return std::move(*store);
  }
  std::filesystem::path file() const { return folder_.path() / "farm.db"; }
  std::uint64_t leased(FarmStore& store, const std::string& key, const std::string& worker = "w") {
    return store.lease(key, worker).value().value();
  }
  std::vector<std::string> queue(FarmStore& store) {
    std::vector<std::string> keys;
    const auto jobs = store.queued().value();
    for (const auto& queued : jobs) keys.push_back(queued.key);
    return keys;
  }

  TemporaryFolder folder_;
};

TEST_F(FarmStoreTest, SubmittingTwiceIsOneJob) {
  auto store = open();
  const auto first = store.submit(job("a")).value();
  EXPECT_FALSE(first.existed);
  EXPECT_EQ(first.state, JobState::queued);
  EXPECT_FALSE(store.submit(job("a")).value().existed) << "this campaign asked for it itself";
  EXPECT_TRUE(store.submit(job("a", "second")).value().existed);
  EXPECT_THAT(queue(store), ElementsAre("a"));
  EXPECT_EQ(store.job("a").value()->job, "spec of a");
  EXPECT_FALSE(store.job("b").value().has_value());
}

TEST_F(FarmStoreTest, GreaterPriorityFirstThenOldest) {
  auto store = open();
  for (const auto& [key, priority] : {std::pair{"a", 0}, {"b", 5}, {"c", 0}, {"d", 5}}) {
    ASSERT_TRUE(store.submit(job(key, "first", priority)));
  }
  EXPECT_THAT(queue(store), ElementsAre("b", "d", "a", "c"));
  // Somebody with greater need lifts a waiting job.
  ASSERT_TRUE(store.submit(job("c", "second", 9)));
  EXPECT_THAT(queue(store), ElementsAre("c", "b", "d", "a"));
}

TEST_F(FarmStoreTest, ADoneJobIsTheCache) {
  auto store = open();
  ASSERT_TRUE(store.submit(job("a")));
  const auto token = leased(store, "a");
  EXPECT_TRUE(store.report_progress("a", token, 0.5, "half"));
  EXPECT_EQ(store.find("a").value()->message, "half");
  EXPECT_TRUE(store.complete("a", token, "result", false).value());
  const auto again = open().submit(job("a", "second")).value();
  EXPECT_EQ(again.state, JobState::done);
  EXPECT_TRUE(again.existed);
  EXPECT_EQ(again.result, "result");
  EXPECT_EQ(again.progress, 1);
  EXPECT_THAT(queue(store), IsEmpty());
}

TEST_F(FarmStoreTest, AFailedOrCancelledJobIsQueuedAnew) {
  auto store = open();
  ASSERT_TRUE(store.submit(job("a")));
  ASSERT_TRUE(store.complete("a", leased(store, "a"), "bad input", true).value());
  EXPECT_EQ(store.find("a").value()->state, JobState::failed);
  EXPECT_EQ(store.find("a").value()->result, "bad input");
  auto anew = job("a");
  anew.job = "the data moved";
  const auto again = store.submit(anew).value();
  EXPECT_EQ(again.state, JobState::queued);
  EXPECT_EQ(again.attempts, 0);
  EXPECT_EQ(again.worker, "");
  EXPECT_EQ(again.result, "");
  EXPECT_EQ(store.job("a").value()->job, "the data moved");
  ASSERT_TRUE(store.withdraw("first"));
  EXPECT_EQ(store.find("a").value()->state, JobState::cancelled);
  EXPECT_EQ(store.submit(job("a")).value().state, JobState::queued);
}

TEST_F(FarmStoreTest, OnlyTheLastTokenCounts) {
  auto store = open();
  ASSERT_TRUE(store.submit(job("a")));
  const auto stale = leased(store, "a");
  EXPECT_FALSE(store.lease("a", "other").value().has_value()) << "leased twice";
  ASSERT_TRUE(store.release("a", stale, "lost"));
  const auto token = leased(store, "a");
  EXPECT_GT(token, stale);
  EXPECT_FALSE(store.holds("a", stale).value());
  EXPECT_TRUE(store.holds("a", token).value());
  EXPECT_FALSE(store.complete("a", stale, "late", false).value());
  ASSERT_TRUE(store.report_progress("a", stale, 0.9, "late"));
  EXPECT_EQ(store.find("a").value()->progress, 0);
  ASSERT_TRUE(store.release("a", stale, "late"));
  EXPECT_EQ(store.find("a").value()->state, JobState::leased);
  EXPECT_TRUE(store.complete("a", token, "right", false).value());
  EXPECT_FALSE(store.complete("a", token, "twice", false).value());
  EXPECT_EQ(store.find("a").value()->result, "right");
}

TEST_F(FarmStoreTest, TokensGrowOverRestartsAndEvenOverANewFile) {
  std::uint64_t last = 0;
  for (int i = 0; i < 3; ++i) {
    auto store = open();
    const auto key = std::to_string(i);
    ASSERT_TRUE(store.submit(job(key)));
    const auto token = leased(store, key);
    EXPECT_GT(token, last);
    last = token;
  }
  EXPECT_GT(last, 1'000'000'000'000u) << "a new file must begin above the tokens of an earlier one";
}

TEST_F(FarmStoreTest, ConcurrentCompletesOfTwoConnectionsCountOnce) {
  auto first = open();
  auto second = open();
  for (int i = 0; i < 20; ++i) {
    const auto key = std::to_string(i);
    ASSERT_TRUE(first.submit(job(key)));
    const auto token = leased(first, key);
    std::atomic<int> accepted = 0;
    const auto complete = [&](FarmStore& store) {
      const auto done = store.complete(key, token, "result", false);
      if (done && *done) ++accepted;
    };
    {
      const std::jthread other([&] { complete(second); });
      complete(first);
    }
    EXPECT_EQ(accepted, 1);
  }
}

TEST_F(FarmStoreTest, ConcurrentLeasesOfTwoProcessesNeverShareAJob) {
  constexpr int kJobs = 40;
  {
    auto store = open();
    for (int i = 0; i < kJobs; ++i) ASSERT_TRUE(store.submit(job(std::to_string(i))));
  }
  const auto taken_by = [&](const char* name) { return folder_.path() / name; };
  std::vector<pid_t> children;
  for (const char* name : {"one", "two"}) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = open();
      std::ofstream taken(taken_by(name));
      for (int i = 0; i < kJobs; ++i) {
        const auto key = std::to_string(i);
        const auto token = store.lease(key, name);
        if (!token) ::_exit(1);
        if (token->has_value() && store.complete(key, **token, name, false).value()) taken << key << ' ';
      }
      taken.close();
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  std::vector<std::string> all;
  for (const char* name : {"one", "two"}) {
    std::ifstream taken(taken_by(name));
    all.insert(all.end(), std::istream_iterator<std::string>(taken), {});
  }
  EXPECT_THAT(all, SizeIs(kJobs));
  EXPECT_THAT(std::set<std::string>(all.begin(), all.end()), SizeIs(kJobs));
}

TEST_F(FarmStoreTest, FailsAfterTooManyAttempts) {
  auto store = open();
  ASSERT_TRUE(store.submit(job("a")));
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_TRUE(store.release("a", leased(store, "a", "pi-4"), "killed by signal 9", 3));
    const auto status = store.find("a").value().value();
    EXPECT_EQ(status.attempts, attempt);
    EXPECT_EQ(status.state, attempt < 3 ? JobState::queued : JobState::failed);
  }
  EXPECT_EQ(failure_of(*store.find("a").value()), "killed by signal 9 (given up after 3 attempts)");
}

TEST_F(FarmStoreTest, ARequeuedLeaseIsNoAttempt) {
  auto store = open();
  ASSERT_TRUE(store.submit(job("a")));
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store.requeue("a", leased(store, "a")));
  EXPECT_EQ(store.find("a").value()->attempts, 0);
  EXPECT_EQ(store.find("a").value()->state, JobState::queued);
}

TEST_F(FarmStoreTest, WithdrawnJobsGoOnForWhoeverElseWantsThem) {
  auto store = open();
  ASSERT_TRUE(store.submit(job("both", "first")));
  ASSERT_TRUE(store.submit(job("both", "second")));
  ASSERT_TRUE(store.submit(job("queued", "first")));
  ASSERT_TRUE(store.submit(job("running", "first")));
  ASSERT_TRUE(store.submit(job("named", "first")));
  ASSERT_TRUE(store.submit(job("finished", "first")));
  const auto token = leased(store, "running");
  ASSERT_TRUE(store.complete("finished", leased(store, "finished"), "result", false).value());

  ASSERT_TRUE(store.withdraw("first", std::vector<std::string>{"named", "finished", "unknown"}));
  EXPECT_EQ(store.find("named").value()->state, JobState::cancelled);
  EXPECT_EQ(store.find("queued").value()->state, JobState::queued);

  ASSERT_TRUE(store.withdraw("first"));
  EXPECT_EQ(store.find("queued").value()->state, JobState::cancelled);
  EXPECT_EQ(store.find("running").value()->state, JobState::cancelled);
  EXPECT_EQ(store.find("finished").value()->state, JobState::done);
  EXPECT_EQ(store.find("both").value()->state, JobState::queued);
  EXPECT_FALSE(store.holds("running", token).value());
  EXPECT_FALSE(store.complete("running", token, "result", false).value());

  ASSERT_TRUE(store.withdraw("second"));
  EXPECT_EQ(store.find("both").value()->state, JobState::cancelled);
}

TEST_F(FarmStoreTest, ListsLeasesOfAnEarlierServer) {
  {
    auto store = open();
    for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(store.submit(job(key)));
    leased(store, "a", "pi-4");
    leased(store, "c", "pi-5");
  }
  const auto leases = open().leased().value();
  ASSERT_THAT(leases, SizeIs(2));
  EXPECT_EQ(leases[0].worker, "pi-4");
  EXPECT_EQ(leases[1].key, "c");
}

TEST_F(FarmStoreTest, DataVersionShowsWhatOthersWrote) {
  auto server = open();
  auto campaign = open();
  const auto before = server.data_version();
  EXPECT_EQ(server.data_version(), before);
  ASSERT_TRUE(campaign.submit(job("a")));
  EXPECT_NE(server.data_version(), before);
}

TEST_F(FarmStoreTest, KilledInTheMiddleOfWritesLosesNothingThatWasAcknowledged) {
  std::mt19937 random(7);
  int last = 0;
  for (int round = 0; round < 8; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = FarmStore::open(file());
      for (int i = last; store; ++i) {
        const auto key = std::to_string(i);
        if (!store->submit(job(key))) break;
        const auto token = store->lease(key, "w");
        if (!token || !*token || !store->complete(key, **token, "result " + key, false)) break;
        if (::write(pipe[1], &i, sizeof i) != sizeof i) break;
      }
      ::_exit(1);
    }
    ::close(pipe[1]);
    // Killed right after some acknowledgement: that is at any point of the next job's three transactions.
    const int acknowledgements = std::uniform_int_distribution<int>(1, 15)(random);
    int acknowledged = -1;
    for (int i = 0; i < acknowledgements; ++i) ASSERT_EQ(::read(pipe[0], &acknowledged, sizeof acknowledged), 4);
    ::kill(child, SIGKILL);
    int number = 0;
    while (::read(pipe[0], &number, sizeof number) == 4) acknowledged = number;
    ::close(pipe[0]);
    ::waitpid(child, nullptr, 0);

    auto store = open();
    for (int i = last; i <= acknowledged; ++i) {
      const auto status = store.find(std::to_string(i)).value();
      ASSERT_TRUE(status.has_value()) << i;
      EXPECT_EQ(status->state, JobState::done);
      EXPECT_EQ(status->result, "result " + std::to_string(i));
    }
    last = acknowledged + 2;  // the one after may be anywhere
  }
}

TEST_F(FarmStoreTest, AnInvitationCountsOnce) {
  auto store = open();
  const auto token = store.invite("pi-4-kitchen", "raspberry-pi-4").value();
  EXPECT_THAT(store.admitted().value(), IsEmpty());
  const auto device = store.redeem(token).value();
  ASSERT_TRUE(device.has_value());
  EXPECT_EQ(device->name, "pi-4-kitchen");
  EXPECT_EQ(device->profile, "raspberry-pi-4");
  EXPECT_FALSE(store.redeem(token).value().has_value());
  EXPECT_THAT(store.admitted().value(), ElementsAre("pi-4-kitchen"));
}

TEST_F(FarmStoreTest, AnInvitationExpiresAndIsReplacedByANewOne) {
  auto store = open();
  EXPECT_FALSE(store.redeem(store.invite("late", "local", 0).value()).value().has_value());
  const auto first = store.invite("pi", "local").value();
  const auto second = store.invite("pi", "local").value();
  EXPECT_FALSE(store.redeem(first).value().has_value());
  EXPECT_TRUE(store.redeem(second).value().has_value());
  EXPECT_FALSE(store.redeem("made up").value().has_value());
}

TEST_F(FarmStoreTest, TheTokenItselfIsNotKept) {
  std::string token;
  {
    auto store = open();
    token = store.invite("pi", "local").value();
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(bytes.find(token), std::string::npos) << entry.path();
  }
}

TEST_F(FarmStoreTest, RefusesNamesThatCannotBe) {
  auto store = open();
  for (const std::string name : {"", "a b", "ä", "a/b", "controller", "local", "local-trainer"}) {
    const auto invited = store.invite(name, "local");
    ASSERT_FALSE(invited) << name;
    EXPECT_EQ(invited.error().exit_code, ExitCode::usage);
  }
  EXPECT_FALSE(store.invite(std::string(64, 'x'), "local"));
}

TEST_F(FarmStoreTest, RemembersDevicesUntilTheyAreForgotten) {
  auto store = open();
  const auto token = store.invite("pi", "raspberry-pi-4").value();
  ASSERT_TRUE(store.redeem(token).value().has_value());
  protocol::DeviceDescription description;
  description.set_name("pi");
  description.set_profile("raspberry-pi-4");
  description.set_cores(4);
  ASSERT_TRUE(store.device_seen(description, true));
  auto devices = store.devices().value();
  ASSERT_THAT(devices, SizeIs(1));
  EXPECT_TRUE(devices[0].connected);
  EXPECT_THAT(devices[0].last_seen, testing::MatchesRegex("....-..-..T..:..:..Z"));
  EXPECT_EQ(devices[0].description, description.SerializeAsString());
  ASSERT_TRUE(store.disconnect_all());
  devices = store.devices().value();
  EXPECT_FALSE(devices[0].connected);

  const auto again = store.invite("pi", "raspberry-pi-4");
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("finch devices remove pi"));
  ASSERT_TRUE(store.forget_device("pi"));
  EXPECT_THAT(store.admitted().value(), IsEmpty());
  EXPECT_FALSE(store.forget_device("pi"));
  for (const bool connected : {true, false}) {
    ASSERT_TRUE(store.device_seen(description, connected));
    EXPECT_THAT(store.devices().value(), IsEmpty()) << "it must not bring itself back; connected: " << connected;
  }
  EXPECT_TRUE(store.invite("pi", "raspberry-pi-4"));
}

}  // namespace
}  // namespace finch::controller
