#include "controller/config/toml_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/controller/config/temporary_folder.hpp"

namespace finch::controller {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::unique_ptr<TomlReader> reader_of(const std::string& text) {
  auto reader = TomlReader::parse(text, "a.toml");
  EXPECT_TRUE(reader) << reader.error().message;
  return reader ? std::move(*reader) : nullptr;
}

std::string errors_of(TomlReader& reader) {
  const auto finished = reader.finish();
  if (finished) return "";
  EXPECT_EQ(finished.error().exit_code, ExitCode::usage);
  return finished.error().message;
}

TEST(TomlReader, ReadsEveryType) {
  const auto reader = reader_of(
      "[a]\ntext = \"x\"\nflag = true\nwhole = -3\nreal = 2.5\nreal_without_point = 7\nlist = [\"p\", \"q\"]\n"
      "choice = \"two\"\nmaybe = 4\n");
  TomlTable table = reader->table("a");
  std::string text, choice;
  bool flag = false;
  std::int64_t whole = 0;
  double real = 0, real_without_point = 0;
  std::vector<std::string> list;
  std::optional<double> maybe;
  table.read("text", text);
  table.read("flag", flag);
  table.read("whole", whole, -5, 5);
  table.read("real", real, 0, 10);
  table.read("real_without_point", real_without_point, 0, 10);
  table.read("list", list);
  table.read_choice("choice", choice = "one", {"one", "two"});
  table.read("maybe", maybe, 0.0, 10.0);
  table.done();
  EXPECT_EQ(errors_of(*reader), "");
  EXPECT_EQ(text, "x");
  EXPECT_TRUE(flag);
  EXPECT_EQ(whole, -3);
  EXPECT_EQ(real, 2.5);
  EXPECT_EQ(real_without_point, 7);
  EXPECT_EQ(list, (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(choice, "two");
  EXPECT_EQ(maybe, 4.0);
}

TEST(TomlReader, LeavesTheDefaultWhereAKeyOrATableIsAbsent) {
  const auto reader = reader_of("[a]\n");
  for (const char* name : {"a", "absent"}) {
    TomlTable table = reader->table(name);
    std::string text = "kept";
    bool flag = true;
    std::int64_t whole = 3;
    double real = 1.5;
    std::vector<std::string> list = {"kept"};
    std::optional<double> maybe;
    table.read("text", text);
    table.read("flag", flag);
    table.read("whole", whole, 0, 1);  // a default is not held against the range
    table.read("real", real, 0, 1);
    table.read("list", list);
    table.read("maybe", maybe, 0.0, 1.0);
    EXPECT_FALSE(table.has("text"));
    table.done();
    EXPECT_EQ(text, "kept");
    EXPECT_TRUE(flag);
    EXPECT_EQ(whole, 3);
    EXPECT_EQ(real, 1.5);
    EXPECT_EQ(list, std::vector<std::string>{"kept"});
    EXPECT_FALSE(maybe);
  }
  EXPECT_TRUE(reader->tables("absent_list").empty());
  EXPECT_EQ(errors_of(*reader), "");
}

TEST(TomlReader, ARejectedValueLeavesTheDefault) {
  const auto reader = reader_of("[a]\nwhole = 11\nreal = nan\nmaybe = -1.0\nlist = [\"p\", 1]\nchoice = \"three\"\n");
  TomlTable table = reader->table("a");
  std::int64_t whole = 3;
  double real = 0.5;
  std::optional<double> maybe;
  std::vector<std::string> list = {"kept"};
  std::string choice = "one";
  table.read("whole", whole, 0, 10);
  table.read("real", real, 0, 1);
  table.read("list", list);
  table.read_choice("choice", choice, {"one", "two"});
  table.done();
  EXPECT_NE(errors_of(*reader), "");
  EXPECT_EQ(whole, 3);
  EXPECT_EQ(real, 0.5);
  EXPECT_EQ(list, std::vector<std::string>{"kept"});
  EXPECT_EQ(choice, "one");
  EXPECT_FALSE(maybe);
}

TEST(TomlReader, BothEndsOfARangeBelongToIt) {
  const auto reader = reader_of("[a]\nlow = 1\nhigh = 9\nreal_low = 0.5\nreal_high = 1.5\n");
  TomlTable table = reader->table("a");
  std::int64_t low = 0, high = 0;
  double real_low = 0, real_high = 0;
  table.read("low", low, 1, 9);
  table.read("high", high, 1, 9);
  table.read("real_low", real_low, 0.5, 1.5);
  table.read("real_high", real_high, 0.5, 1.5);
  table.done();
  EXPECT_EQ(errors_of(*reader), "");
  EXPECT_EQ(low, 1);
  EXPECT_EQ(high, 9);
}

TEST(TomlReader, CollectsAllErrorsInTheOrderOfTheFile) {
  const auto reader = reader_of("[b]\nx = 1\n[a]\nwhole = 1.5\ntypo = 1\n\n[c]\n");
  TomlTable a = reader->table("a");
  std::int64_t whole = 0;
  bool type = false;
  a.read("whole", whole, 0, 10);
  a.read("type", type);
  a.done();
  TomlTable b = reader->table("b");
  std::string x;
  b.read("x", x);
  b.done();
  EXPECT_EQ(errors_of(*reader),
            "a.toml:2: b.x: expected a string, got a whole number\n"
            "a.toml:4: a.whole: expected a whole number, got a number\n"
            "a.toml:5: key 'a.typo' is not known; did you mean 'a.type'?\n"
            "a.toml:7: 'c' is not known; did you mean 'a'?");
}

TEST(TomlReader, NamesTheTypeThatItFound) {
  const std::vector<std::pair<std::string, std::string>> values = {
      {"1", "a whole number"},        {"1.5", "a number"},
      {"true", "true or false"},      {"[1]", "a list"},
      {"{x = 1}", "a table"},         {"2026-01-01", "a date or time"},
      {"10:00:00", "a date or time"},
  };
  for (const auto& [value, name] : values) {
    const auto reader = reader_of("[a]\nkey = " + value + "\n");
    TomlTable table = reader->table("a");
    std::string text;
    table.read("key", text);
    table.done();
    EXPECT_EQ(errors_of(*reader), "a.toml:2: a.key: expected a string, got " + name);
  }
}

TEST(TomlReader, AWholeNumberIsNoString) {
  const auto reader = reader_of("[a]\nwhole = \"3\"\nreal = \"0.5\"\nflag = 1\nlist = \"p\"\n");
  TomlTable table = reader->table("a");
  std::int64_t whole = 0;
  double real = 0;
  bool flag = false;
  std::vector<std::string> list;
  table.read("whole", whole, 0, 10);
  table.read("real", real, 0, 10);
  table.read("flag", flag);
  table.read("list", list);
  table.done();
  EXPECT_EQ(errors_of(*reader),
            "a.toml:2: a.whole: expected a whole number, got a string\n"
            "a.toml:3: a.real: expected a number, got a string\n"
            "a.toml:4: a.flag: expected true or false, got a whole number\n"
            "a.toml:5: a.list: expected a list of strings, got a string");
}

TEST(TomlReader, AnArrayOfTablesIsReadInOrder) {
  const auto reader = reader_of("[[device]]\nname = \"first\"\n[[device]]\nname = \"second\"\nport = 1\n");
  std::vector<std::string> names;
  for (TomlTable& table : reader->tables("device")) {
    std::string name;
    table.read("name", name);
    table.done();
    names.push_back(name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"first", "second"}));
  EXPECT_THAT(errors_of(*reader), StartsWith("a.toml:5: key 'device.port' is not known"));
}

TEST(TomlReader, SaysWhereTheTextStopsToBeToml) {
  const auto reader = TomlReader::parse("[a]\nx = \n", "a.toml");
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().exit_code, ExitCode::usage);
  EXPECT_THAT(reader.error().message, StartsWith("a.toml:2:"));
  EXPECT_THAT(reader.error().message, HasSubstr("this is not TOML"));
  EXPECT_EQ(reader.error().message.find('\n'), std::string::npos);
}

TEST(TomlReader, AFileThatCannotBeReadIsNamedWithTheReason) {
  const TemporaryFolder folder;
  const auto absent = read_text(folder.path() / "absent.toml");
  ASSERT_FALSE(absent);
  EXPECT_EQ(folder.without_path(absent.error().message), "absent.toml: cannot read: No such file or directory");
  EXPECT_EQ(absent.error().exit_code, ExitCode::usage);
  const auto directory = read_text(folder.path());
  ASSERT_FALSE(directory);
  EXPECT_THAT(directory.error().message, HasSubstr("cannot read: Is a directory"));
  const std::string bytes("a\0\r\n\xff", 5);
  EXPECT_EQ(read_text(folder.write("bytes", bytes)).value(), bytes);
}

// Levenshtein's distance by its recursive definition, to hold the reader's against.
std::size_t distance(std::string_view a, std::string_view b) {
  if (a.empty()) return b.size();
  if (b.empty()) return a.size();
  if (a[0] == b[0]) return distance(a.substr(1), b.substr(1));
  return 1 + std::min({distance(a.substr(1), b), distance(a, b.substr(1)), distance(a.substr(1), b.substr(1))});
}

TEST(NearestKey, IsTheOneWithTheSmallestEditDistance) {
  std::mt19937 random(1);
  const auto word = [&] {
    std::string text(1 + random() % 6, ' ');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 3);
    return text;
  };
  int found = 0;
  for (int round = 0; round < 300; ++round) {
    const std::string asked = word();
    std::set<std::string> candidates;
    while (candidates.size() < 4) candidates.insert(word());
    std::size_t least = std::numeric_limits<std::size_t>::max();
    for (const std::string& candidate : candidates) least = std::min(least, distance(asked, candidate));
    const auto near = nearest(asked, candidates);
    if (least > 2) {
      EXPECT_TRUE(!near || near->starts_with(asked)) << asked << " against " << *near;
    } else {
      ASSERT_TRUE(near) << asked;
      ++found;
      EXPECT_EQ(distance(asked, *near), least) << asked << " against " << *near;
      EXPECT_TRUE(candidates.contains(*near));
    }
  }
  EXPECT_GT(found, 100);
}

TEST(NearestKey, MisspellingsAreFoundAndStrangersAreNot) {
  const std::set<std::string> keys = {"epochs", "learning_rate", "weight_decay", "batch_size"};
  EXPECT_EQ(nearest("epocs", keys), "epochs");
  EXPECT_EQ(nearest("epcohs", keys), "epochs");
  EXPECT_EQ(nearest("learning-rate", keys), "learning_rate");
  EXPECT_EQ(nearest("batchsize", keys), "batch_size");
  EXPECT_EQ(nearest("epochs", keys), "epochs");
  EXPECT_EQ(nearest("learn", keys), "learning_rate");
  EXPECT_EQ(nearest("momentum", keys), std::nullopt);
  EXPECT_EQ(nearest("epochs", {}), std::nullopt);
}

TEST(NearestKey, TheHintNamesTheKeyOrElseAllOfThem) {
  EXPECT_EQ(did_you_mean("epocs", {"epochs", "flip"}), "; did you mean 'epochs'?");
  EXPECT_EQ(did_you_mean("momentum", {"epochs", "flip"}), "; known: epochs, flip");
}

}  // namespace
}  // namespace finch::controller
