#include "controller/campaign/event_store.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/controller/campaign/memory_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

class EventStoreTest : public testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "campaign.db"; }
  void execute(const std::string& sql) {
    auto database = Database::open(file(), 1, "");
    ASSERT_TRUE(database);
    ASSERT_TRUE(database->transact([&] { database->execute(sql); }));
  }
  MemoryFolder folder_;
};

TEST_F(EventStoreTest, GivesBackWhatWasAppendedInOrder) {
  {
    auto store = EventStore::open(file());
    ASSERT_TRUE(store) << store.error().message;
    ASSERT_EQ(store->append("created", 0, {{"seed", 7}})->sequence, 1);
    ASSERT_EQ(store->append("told", 12.5, {{"violation", nullptr}, {"objectives", {0.1, 1.0 / 3}}})->sequence, 2);
  }
  auto store = EventStore::open(file());
  ASSERT_TRUE(store);
  EXPECT_EQ(store->append("note", 13, {{"text", "grüß"}})->sequence, 3);
  const auto events = store->load();
  ASSERT_TRUE(events) << events.error().message;
  ASSERT_EQ(events->size(), 3u);
  EXPECT_EQ(events->at(0).data.at("seed"), 7);
  EXPECT_EQ(events->at(1).type, "told");
  EXPECT_EQ(events->at(1).seconds, 12.5);
  EXPECT_EQ(events->at(1).data.at("objectives").at(1).get<double>(), 1.0 / 3);  // to the last bit
  EXPECT_TRUE(events->at(1).data.at("violation").is_null());
  EXPECT_EQ(events->at(2).data.at("text"), "grüß");
  EXPECT_THAT(events->at(2).utc, testing::MatchesRegex("....-..-..T..:..:..Z"));
}

TEST_F(EventStoreTest, KeepsWhatIsNoUtf8Readable) {
  auto store = EventStore::open(file());
  ASSERT_TRUE(store->append("note", 0, {{"text", "bad \xff byte"}}));
  EXPECT_THAT(store->load()->front().data.at("text").get<std::string>(), HasSubstr("bad "));
}

TEST_F(EventStoreTest, NamesADamagedEvent) {
  {
    auto store = EventStore::open(file());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(store->append("note", i, {{"text", "x"}}));
  }
  execute("UPDATE events SET data = '{\"text\": ' WHERE sequence = 2");
  const auto events = EventStore::open(file())->load();
  ASSERT_FALSE(events);
  EXPECT_THAT(events.error().message, HasSubstr("event 2 (note) of this campaign is damaged"));
}

TEST_F(EventStoreTest, NamesAMissingEvent) {
  {
    auto store = EventStore::open(file());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(store->append("note", i, {{"text", "x"}}));
  }
  execute("DELETE FROM events WHERE sequence = 2");
  const auto events = EventStore::open(file())->load();
  ASSERT_FALSE(events);
  EXPECT_THAT(events.error().message, HasSubstr("event 2 of this campaign is missing"));
}

TEST_F(EventStoreTest, RefusesAFileThatIsNoDatabase) {
  std::ofstream(file()) << std::string(5000, 'x');
  const auto store = EventStore::open(file());
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr(file().string()));
  EXPECT_THAT(store.error().message, HasSubstr("damaged"));
}

TEST_F(EventStoreTest, RefusesTheLogOfANewerFinch) {
  ASSERT_TRUE(EventStore::open(file()));
  execute("PRAGMA user_version = 99");
  const auto store = EventStore::open(file());
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr("newer Finch"));
}

}  // namespace
}  // namespace finch::controller
