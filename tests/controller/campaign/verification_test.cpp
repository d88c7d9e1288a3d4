// What verify() finds of a front: all as it was, or what differs.
#include <gmock/gmock.h>

#include <fstream>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class VerificationTest : public testing::Test, protected CampaignFixture {
 protected:
  VerificationTest() { finish("run", config()); }

  std::expected<std::vector<FileCheck>, Error> verify() {
    auto run = open("run");
    JobBoard board(store, "verify", home.artifacts());
    return run->verify(home, [&](const JobRequest& request) -> std::expected<protocol::JobResult, Error> {
      (void)board.result_of(request);
      farm.serve_all();
      (void)board.refresh();
      ++asked_;
      const auto done = board.result_of(request).value().value();
      EXPECT_FALSE(done.reused);
      if (done.result.has_failure()) return std::unexpected(Error{done.result.failure().message()});
      return done.result;
    });
  }
  int asked_ = 0;
};

TEST_F(VerificationTest, FindsAFrontAsItWas) {
  const auto checks = verify();
  ASSERT_TRUE(checks) << checks.error().message;
  ASSERT_FALSE(checks->empty());
  for (const FileCheck& check : *checks) {
    EXPECT_THAT(check.differences, IsEmpty());
    EXPECT_EQ(check.top1_now, check.top1_then);
    ASSERT_EQ(check.measurements.size(), 1u);
    EXPECT_GT(check.measurements.front().second.median_ms, 0);
  }
  const int first = asked_;
  ASSERT_TRUE(verify());  // and never from memory
  EXPECT_EQ(asked_, 2 * first);
}

TEST_F(VerificationTest, NamesWhatDiffers) {
  farm.tamper = [](const protocol::Job& job, protocol::JobResult& result) {
    if (job.has_evaluate() && job.evaluate().deploy().precision() == "int8")
      result.mutable_evaluation()->set_top1(result.evaluation().top1() - 0.01);
    if (job.has_measure() && job.measure().deploy().precision() == "fp32") {
      auto& m = *result.mutable_measurement();
      m.set_latency_median_ms(1.5 * m.latency_median_ms());
      m.set_latency_ci_low_ms(1.5 * m.latency_ci_low_ms());
      m.set_latency_ci_high_ms(1.5 * m.latency_ci_high_ms());
    }
  };
  const auto checks = verify();
  ASSERT_TRUE(checks) << checks.error().message;
  for (const FileCheck& check : *checks) {
    EXPECT_THAT(check.differences, ElementsAre(check.precision == "int8" ? HasSubstr("-2 of 200 images")
                                                                         : HasSubstr("local: 1.500 x the latency")));
  }
}

TEST_F(VerificationTest, NamesAFileThatIsNotWhatWasMeasured) {
  const auto result = open("run")->result().value();
  std::ofstream(folder("run") / result.models.front().files.front().path) << "something else";
  const auto checks = verify();
  ASSERT_TRUE(checks) << checks.error().message;
  EXPECT_THAT(checks->front().differences, ElementsAre(HasSubstr("not the one that was measured")));
  EXPECT_THAT(checks->front().measurements, IsEmpty());
  EXPECT_THAT(checks->at(1).differences, IsEmpty());
}

TEST_F(VerificationTest, RefusesOtherDataAndARunWithoutAFront) {
  farm.tamper = [](const protocol::Job& job, protocol::JobResult& result) {
    if (job.has_inspect_data()) result.mutable_data_facts()->set_data_hash("data 2");
  };
  EXPECT_THAT(verify().error().message, AllOf(HasSubstr("not the data of the campaign"), HasSubstr("data 2")));
  auto run = create("unfinished", config());
  const auto checks = run->verify(home, [](const JobRequest&) { return protocol::JobResult{}; });
  EXPECT_THAT(checks.error().message, HasSubstr("no front yet"));
}

}  // namespace
}  // namespace finch::controller
