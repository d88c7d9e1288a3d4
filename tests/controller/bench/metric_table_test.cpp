#include "controller/bench/metric_table.hpp"

#include <gmock/gmock.h>
#include <unistd.h>
#include <zlib.h>

#include <format>

namespace finch::controller {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class MetricTables : public testing::Test {
 protected:
  std::expected<MetricTable, Error> parse(const std::string& text, std::vector<std::string> columns = {"top1", "ms"}) {
    return MetricTable::parse(text, "t.csv", *space_, columns);
  }
  std::string error(const std::string& text, std::vector<std::string> columns = {"top1", "ms"}) {
    const auto table = parse(text, std::move(columns));
    if (table) return "no error";
    EXPECT_EQ(table.error().exit_code, ExitCode::usage);
    return table.error().message;
  }
  std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({.name = "nasbench201", .image = {3, 32, 32}, .classes = 10});
};

TEST_F(MetricTables, ReadsTheColumnsThatAreAskedFor) {
  const auto table = parse("genotype,ms,other,top1\r\n012340, 1.5 ,x,90\r\n\n000300,2e1,,80\n", {"top1", "ms"});
  ASSERT_TRUE(table) << table.error().message;
  ASSERT_THAT(table->rows(), SizeIs(2));
  EXPECT_THAT(table->rows()[0].values, ElementsAre(90, 1.5));
  EXPECT_EQ(search::to_digits(table->rows()[0].genotype), "012340");
  EXPECT_THAT(table->rows()[1].values, ElementsAre(80, 20));
}

TEST_F(MetricTables, ARowThatLacksAMetricIsOutsideTheSpace) {
  const auto table = parse("genotype,top1,ms\n000300,90,\n000200,,1\n000100,1,1\n");
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_THAT(table->rows(), SizeIs(1));
  EXPECT_EQ(table->find({0, 0, 0, 3, 0, 0}), nullptr);
}

TEST_F(MetricTables, FindsTheVeryGenotypeBeforeOneThatIsTheSameNetwork) {
  const auto both = parse("genotype,top1,ms\n100030,1,1\n000300,2,2\n");
  ASSERT_TRUE(both);
  EXPECT_THAT(both->find({0, 0, 0, 3, 0, 0})->values, ElementsAre(2, 2));
  const auto sibling = parse("genotype,top1,ms\n100030,1,1\n300010,3,3\n");
  ASSERT_TRUE(sibling);
  EXPECT_THAT(sibling->find({0, 0, 0, 3, 0, 0})->values, ElementsAre(1, 1));
  EXPECT_EQ(sibling->find({0, 0, 0, 2, 0, 0}), nullptr);
}

TEST_F(MetricTables, SaysWhereAndWhatIsWrong) {
  EXPECT_EQ(error(""), "t.csv: it is empty; the first line names the columns, genotype first");
  EXPECT_THAT(error("name,top1,ms\n"), HasSubstr("t.csv:1: the first column is 'name'; it must be 'genotype'"));
  EXPECT_EQ(error("genotype,top1,ms2\n000300,1,1\n"), "t.csv:1: there is no column 'ms'; did you mean 'ms2'?");
  EXPECT_THAT(error("genotype,ms,top1,ms\n"), HasSubstr("column 'ms' comes twice"));
  EXPECT_EQ(error("genotype,top1,ms\n\n000300,abc,1\n"), "t.csv:3: top1: 'abc' is no number");
  EXPECT_THAT(error("genotype,top1,ms\n000300,nan,1\n"), HasSubstr("t.csv:2: top1: 'nan' is no number"));
  EXPECT_THAT(error("genotype,top1,ms\n000300,1,1e999\n"), HasSubstr("ms: '1e999' is no number"));
  EXPECT_EQ(error("genotype,top1,ms\n000300,1\n"), "t.csv:2: 2 cells; the header has 3");
  EXPECT_THAT(error("genotype,top1,ms\n0003,1,1\n"), HasSubstr("'0003' has 4 digits; the space nasbench201 has 6"));
  EXPECT_THAT(error("genotype,top1,ms\n000900,1,1\n"), HasSubstr("'000900' does not belong to the space nasbench201"));
  EXPECT_THAT(error("genotype,top1,ms\n0,0,0\n"), HasSubstr("has 1 digits"));
  EXPECT_THAT(error("genotype,top1,ms\n0x3300,0,0\n"), HasSubstr("'0x3300' does not belong"));
  EXPECT_THAT(error("genotype,top1,ms\n0-3300,0,0\n"), HasSubstr("'0-3300' is no genotype of digits"));
  EXPECT_THAT(error("genotype,top1,ms\n000300,1,1\n000300,1,1\n"),
              HasSubstr("t.csv:3: genotype: '000300' comes twice"));
  EXPECT_THAT(error("genotype,top1,ms\n000300,,1\n"), HasSubstr("no row has all the columns"));
}

TEST_F(MetricTables, ReadsGzipAndNoticesDamage) {
  const auto file = std::filesystem::temp_directory_path() / std::format("finch-table-{}.csv.gz", getpid());
  std::string text = "genotype,top1,ms\n000300,90,1\n";
  for (int i = 0; i < 1000; ++i) text += '\n';
  const gzFile packed = gzopen(file.c_str(), "wb");
  gzwrite(packed, text.data(), static_cast<unsigned>(text.size()));
  gzclose(packed);
  EXPECT_TRUE(MetricTable::read(file, *space_, {"top1", "ms"}));
  const auto size = std::filesystem::file_size(file);
  std::filesystem::resize_file(file, size - 8);
  const auto cut = MetricTable::read(file, *space_, {"top1", "ms"});
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error().message, HasSubstr("damaged, or cut off"));
  std::filesystem::remove(file);
  EXPECT_THAT(MetricTable::read(file, *space_, {"top1"}).error().message, HasSubstr("there is no such file"));
}

}  // namespace
}  // namespace finch::controller
