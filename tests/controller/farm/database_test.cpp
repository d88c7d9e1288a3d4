#include "controller/farm/database.hpp"

#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <thread>

#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

constexpr std::array<const char*, 1> kFirst = {"CREATE TABLE note (id INTEGER PRIMARY KEY, words TEXT, data BLOB)"};
constexpr std::array<const char*, 2> kSecond = {kFirst[0], "ALTER TABLE note ADD COLUMN weight REAL"};

class DatabaseTest : public testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "notes.db"; }
  TemporaryFolder folder_;
};

TEST_F(DatabaseTest, KeepsValuesOfEveryType) {
  auto database = Database::open(file(), kFirst);
  ASSERT_TRUE(database) << database.error().message;
  const std::string bytes("a\0b", 3);
  const auto big = ~std::uint64_t{0} - 5;
  ASSERT_TRUE(database->run("INSERT INTO note VALUES (?, ?, ?)", {big, "it's", Blob{bytes}}));
  ASSERT_TRUE(database->run("INSERT INTO note VALUES (?, ?, ?)", {7, nullptr, Blob{}}));
  auto rows = database->query("SELECT id, words, data FROM note ORDER BY id DESC");
  ASSERT_TRUE(rows);
  ASSERT_TRUE(rows->next().value());
  EXPECT_EQ(rows->integer(0), 7);
  EXPECT_TRUE(rows->is_null(1));
  EXPECT_EQ(rows->text(2), "");
  ASSERT_TRUE(rows->next().value());
  EXPECT_EQ(rows->unsigned_integer(0), big);
  EXPECT_EQ(rows->text(1), "it's");
  EXPECT_EQ(rows->text(2), bytes);
  EXPECT_FALSE(rows->next().value());
}

TEST_F(DatabaseTest, MigratesAnOlderFileAndKeepsItsRows) {
  ASSERT_TRUE(Database::open(file(), kFirst)->run("INSERT INTO note VALUES (1, 'old', NULL)"));
  auto database = Database::open(file(), kSecond);
  ASSERT_TRUE(database) << database.error().message;
  EXPECT_EQ(database->run("UPDATE note SET weight = 1.5 WHERE words = 'old'").value(), 1);
}

TEST_F(DatabaseTest, RefusesANewerFile) {
  ASSERT_TRUE(Database::open(file(), kSecond));
  auto database = Database::open(file(), kFirst);
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("newer Finch (schema 2, this one knows 1)"));
  EXPECT_THAT(database.error().message, HasSubstr(file().string()));
}

TEST_F(DatabaseTest, RefusesAFileThatIsNoDatabase) {
  std::ofstream(file()) << std::string(5000, 'x');
  auto database = Database::open(file(), kFirst);
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("damaged or no database"));
}

TEST_F(DatabaseTest, RefusesTheDatabaseOfAnotherProgram) {
  ASSERT_TRUE(Database::open(file(), {})->exec("CREATE TABLE bookmark (url)"));
  auto database = Database::open(file(), kFirst);
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("another program"));
}

TEST_F(DatabaseTest, NamesAFolderThatIsNotThere) {
  auto database = Database::open(folder_.path() / "nowhere" / "notes.db", kFirst);
  ASSERT_FALSE(database);
  EXPECT_THAT(database.error().message, HasSubstr("its folder exists"));
}

TEST_F(DatabaseTest, FullDiskIsAClearErrorAndLosesNothing) {
  auto database = Database::open(file(), kFirst);
  ASSERT_TRUE(database);
  ASSERT_TRUE(database->run("INSERT INTO note VALUES (1, 'first', NULL)"));
  // SQLite reports a file that may not grow as a full disk.
  ASSERT_TRUE(database->exec("PRAGMA max_page_count=3"));
  const std::string large(100'000, 'x');
  auto written = database->transact([&]() -> std::expected<std::int64_t, Error> {
    if (auto done = database->run("INSERT INTO note VALUES (2, 'second', NULL)"); !done) return done;
    return database->run("INSERT INTO note VALUES (3, 'third', ?)", {Blob{large}});
  });
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr("the disk is full"));
  ASSERT_TRUE(database->exec("PRAGMA max_page_count=1000"));
  auto rows = database->query("SELECT group_concat(id) FROM note");
  ASSERT_TRUE(rows->next().value());
  EXPECT_EQ(rows->text(0), "1");
}

TEST_F(DatabaseTest, AnErrorInsideATransactionUndoesIt) {
  auto database = Database::open(file(), kFirst);
  auto result = database->transact([&]() -> std::expected<int, Error> {
    (void)database->run("INSERT INTO note VALUES (1, 'gone', NULL)");
    return std::unexpected(Error{"changed my mind"});
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "changed my mind");
  auto rows = database->query("SELECT count(*) FROM note");
  ASSERT_TRUE(rows->next().value());
  EXPECT_EQ(rows->integer(0), 0);
}

TEST_F(DatabaseTest, ConcurrentOpensCreateTheSchemaOnce) {
  std::array<std::string, 4> errors;
  {
    std::vector<std::jthread> threads;
    for (auto& error : errors) {
      threads.emplace_back([&] {
        auto database = Database::open(file(), kSecond);
        if (!database) error = database.error().message;
      });
    }
  }
  for (const auto& error : errors) EXPECT_EQ(error, "");
}

TEST_F(DatabaseTest, DataVersionChangesWhenAnotherConnectionWrites) {
  auto reader = Database::open(file(), kFirst);
  auto writer = Database::open(file(), kFirst);
  const auto before = reader->data_version();
  EXPECT_EQ(reader->data_version(), before);
  ASSERT_TRUE(writer->run("INSERT INTO note VALUES (1, 'new', NULL)"));
  EXPECT_NE(reader->data_version(), before);
}

}  // namespace
}  // namespace finch::controller
