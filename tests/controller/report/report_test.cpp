#include "controller/report/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/controller/report/sample_result.hpp"

namespace finch::controller {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RunFolder : public ::testing::Test {
 protected:
  RunFolder() { std::filesystem::create_directories(folder_); }
  ~RunFolder() override { std::filesystem::remove_all(folder_); }
  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("finch-report-" + std::to_string(::getpid()));
};

TEST(FrontJson, HasTheDocumentedFields) {
  const auto json = nlohmann::json::parse(front_json(sample_result()));
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["seed"], 7);
  EXPECT_EQ(json["objectives"][0], (nlohmann::json{{"name", "accuracy"}, {"direction", "maximize"}, {"unit", "%"}}));
  ASSERT_EQ(json["models"].size(), 6);
  const auto& model = json["models"][2];
  EXPECT_EQ(model["genotype"], (nlohmann::json{2, 1, 2}));
  const auto& file = model["files"][1];
  EXPECT_EQ(file["precision"], "int8");
  EXPECT_EQ(file["accuracy"]["samples"], 10000);
  EXPECT_DOUBLE_EQ(file["accuracy"]["ci_low"], 0.87 - 0.007);
  EXPECT_DOUBLE_EQ(file["accuracy"]["ci_high"], 0.87 + 0.007);
  EXPECT_EQ(file["accuracy"]["metrics"]["worst_class_recall"],
            (nlohmann::json{{"value", 0.7}, {"ci_low", 0.65}, {"ci_high", 0.75}}));
  EXPECT_EQ(file["accuracy"]["confusion"][1], (nlohmann::json{0, 3, 130}));
  EXPECT_EQ(json["classes"][9], "Ankle boot");
  EXPECT_EQ(model["tied_with"], nlohmann::json{"c004"});
  EXPECT_TRUE(model["seeds"].empty());
  EXPECT_EQ(json["models"][5]["seeds"][1],
            (nlohmann::json{{"seed", 8}, {"validation_top1", 0.91}, {"test_top1", 0.902}, {"deployed", false}}));
  const auto& m = file["measurements"][0];
  EXPECT_EQ(m["verdict"], "DEGRADED");
  EXPECT_EQ(m["reasons"], nlohmann::json{"foreign CPU 2.1 %"});
  EXPECT_EQ(m["deploy"]["threads"], 1);
  EXPECT_TRUE(m["energy_mj"].is_null());
  for (const char* key : {"median", "ci_low", "ci_high", "p90", "p99", "runs"})
    EXPECT_TRUE(m["latency_ms"].contains(key));
  EXPECT_EQ(m["memory_bytes"]["run_peak"], 31 << 20);
  EXPECT_EQ(m["raw"], "raw/c003-int8.f64");
}

TEST(FrontJson, SaysWhatTheFrontWasComparedWith) {
  const auto front = nlohmann::json::parse(front_json(sample_result()));
  ASSERT_EQ(front["baselines"].size(), 3);
  const auto& first = front["baselines"][0];
  EXPECT_EQ(first["name"], "mobilenet_v2 x0.5");
  EXPECT_EQ(first["rival"]["id"], "c003");
  EXPECT_EQ(first["rival"]["faster"], true);
  EXPECT_EQ(first["file"]["measurements"].size(), 1);
  EXPECT_EQ(front["baselines"][2]["file"]["accuracy"], nullptr);
  EXPECT_EQ(front["baselines"][2]["rival"], nullptr);
  EXPECT_NE(front["headline"].get<std::string>().find("1.90 x faster"), std::string::npos);
}

TEST(FrontJson, WritesEnergyOnlyWhereItWasMeasured) {
  MeasurementInfo measurement;
  measurement.energy = MeasurementInfo::Energy{.gross_mj = 3.5, .net_mj = 1.25, .provenance = "rail"};
  const auto json = nlohmann::json::parse(measurement_json(measurement));
  EXPECT_EQ(json["energy_mj"], (nlohmann::json{{"gross", 3.5}, {"net", 1.25}, {"provenance", "rail"}}));
  EXPECT_TRUE(json["raw"].is_null());
}

TEST(FrontCsv, HasOneLineAFileAndAsManyFieldsAsTheHeader) {
  CampaignResult result = sample_result();
  result.models[0].files[0].measurements.clear();
  result.models[0].files[1].accuracy.reset();
  std::istringstream lines(front_csv(result));
  std::string line;
  std::getline(lines, line);
  const auto fields = std::ranges::count(line, ',');
  int count = 0;
  for (; std::getline(lines, line); ++count) EXPECT_EQ(std::ranges::count(line, ','), fields) << line;
  EXPECT_EQ(count, 12);
}

TEST(FrontCsv, QuotesWhatWouldBreakALine) {
  CampaignResult result = sample_result();
  result.models[0].id = "a,\"b\"";
  EXPECT_THAT(front_csv(result), HasSubstr("\n\"a,\"\"b\"\"\",fp32,"));
}

TEST(ReportHtml, IsSelfContainedAndCannotBeBrokenByNames) {
  const std::string page = report_html(sample_result());
  EXPECT_THAT(page, HasSubstr("<title>sample &lt;/script&gt; &amp; co"));
  EXPECT_THAT(page, HasSubstr("sample <\\/script> & co"));
  EXPECT_THAT(page, HasSubstr("Chart.js v3"));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
}

TEST(ReportHtml, SurvivesBytesThatAreNoUtf8) {
  CampaignResult result = sample_result();
  result.config_toml = "name = \"\xff\xfe\"";
  EXPECT_THAT(report_html(result), HasSubstr("\xEF\xBF\xBD"));
}

TEST_F(RunFolder, ReceivesAllThreeFilesAndNothingElse) {
  ASSERT_TRUE(write_report(sample_result(), folder_));
  EXPECT_THAT(read("front.json"), HasSubstr("\"format\": 1"));
  EXPECT_THAT(read("front.csv"), HasSubstr("id,precision"));
  EXPECT_THAT(read("report.html"), HasSubstr("</html>"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 3);
}

TEST_F(RunFolder, ThatIsGoneIsNamedInTheError) {
  std::filesystem::remove_all(folder_);
  const auto written = write_report(sample_result(), folder_);
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr(folder_.string()));
}

}  // namespace
}  // namespace finch::controller
