#include "controller/farm/database.hpp"

#include <gmock/gmock.h>

#include <array>
#include <format>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

constexpr const char* kSchema = "CREATE TABLE note (id INTEGER PRIMARY KEY, words TEXT NOT NULL, data BLOB)";

class DatabaseTest : public testing::Test {
 protected:
  std::expected<Database, Error> open(int version = 1) { return Database::open(file(), version, kSchema); }
  std::filesystem::path file() const { return folder_.path() / "notes.db"; }
  std::int64_t count(Database& database) {
    Statement select = database.prepare("SELECT count(*) FROM note");
    return select.step() ? select.integer(0) : -1;
  }

  TemporaryFolder folder_;
};

TEST_F(DatabaseTest, KeepsValuesOfEveryType) {
  auto database = open();
  ASSERT_TRUE(database) << database.error().message;
  const std::string bytes("a\0b", 3);
  const auto big = ~std::uint64_t{0} - 5;
  database->prepare("INSERT INTO note VALUES (?, ?, ?)").bind(big, "it's", bytes).run();
  database->prepare("INSERT INTO note VALUES (?, ?, ?)").bind(7, std::string_view(), 0.5).run();
  EXPECT_EQ(database->last_id(), 7);
  Statement rows = database->prepare("SELECT id, words, data FROM note ORDER BY id DESC");
  ASSERT_TRUE(rows.step());
  EXPECT_EQ(rows.integer(0), 7);
  EXPECT_EQ(rows.text(1), "") << "no bytes are an empty text, not NULL";
  EXPECT_EQ(rows.real(2), 0.5);
  ASSERT_TRUE(rows.step());
  EXPECT_EQ(static_cast<std::uint64_t>(rows.integer(0)), big);
  EXPECT_EQ(rows.text(1), "it's");
  EXPECT_EQ(rows.text(2), bytes);
  EXPECT_FALSE(rows.step());
}

TEST_F(DatabaseTest, RefusesANewerFile) {
  ASSERT_TRUE(open(2));
  auto database = open(1);
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("newer Finch (format 2, this one knows 1)"));
  EXPECT_THAT(database.error().message, HasSubstr(file().string()));
}

TEST_F(DatabaseTest, RefusesAFileThatIsNoDatabase) {
  std::ofstream(file()) << std::string(5000, 'x');
  auto database = open();
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("damaged"));
  EXPECT_THAT(database.error().message, HasSubstr(file().string()));
}

TEST_F(DatabaseTest, RefusesADamagedFile) {
  ASSERT_TRUE(open());
  {
    std::fstream bytes(file(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(20);
    bytes << std::string(3000, 'x');
  }
  auto database = open();
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("damaged"));
}

TEST_F(DatabaseTest, RefusesTheDatabaseOfAnotherProgram) {
  ASSERT_TRUE(Database::open(file(), 0, ""));
  Database::open(file(), 0, "")->execute("CREATE TABLE bookmark (url)");
  auto database = open();
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("another program"));
}

TEST_F(DatabaseTest, NamesAFolderThatIsNotThere) {
  auto database = Database::open(folder_.path() / "nowhere" / "notes.db", 1, kSchema);
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("nowhere"));
  EXPECT_THAT(database.error().message, HasSubstr("permissions"));
}

TEST_F(DatabaseTest, FullDiskIsAClearErrorAndLosesNothing) {
  auto database = open();
  ASSERT_TRUE(database);
  database->execute("INSERT INTO note VALUES (1, 'first', NULL)");
  // SQLite reports a file that may not grow as a full disk.
  database->prepare("PRAGMA max_page_count=3").step();
  const std::string large(100'000, 'x');
  const auto written = database->transact([&] {
    database->execute("INSERT INTO note VALUES (2, 'second', NULL)");
    database->prepare("INSERT INTO note VALUES (3, 'third', ?)").bind(large).run();
  });
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr("full; free some space"));
  database->prepare("PRAGMA max_page_count=1000").step();
  EXPECT_EQ(count(*database), 1);
}

TEST_F(DatabaseTest, AFailureInsideATransactionUndoesIt) {
  auto database = open();
  const auto result = database->transact([&] {
    database->execute("INSERT INTO note VALUES (1, 'gone', NULL)");
    throw DatabaseFailure{Error{"changed my mind"}};
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "changed my mind");
  EXPECT_EQ(count(*database), 0);
  EXPECT_TRUE(database->transact([&] { return 1; })) << "the next transaction must not be disturbed";
}

TEST_F(DatabaseTest, ConcurrentOpensCreateTheSchemaOnce) {
  for (int round = 0; round < 20; ++round) {
    const auto file = folder_.path() / std::format("{}.db", round);
    std::array<std::string, 8> errors;
    {
      std::vector<std::jthread> threads;
      for (auto& error : errors) {
        threads.emplace_back([&file, &error] {
          if (auto database = Database::open(file, 1, kSchema); !database) error = database.error().message;
        });
      }
    }
    for (const auto& error : errors) ASSERT_EQ(error, "") << "round " << round;
  }
}

}  // namespace
}  // namespace finch::controller
