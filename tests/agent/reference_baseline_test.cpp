#include "agent/reference_baseline.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

protocol::Calibration taken(const std::string& state, double ms) {
  protocol::Calibration calibration;
  calibration.set_state_hash(state);
  calibration.set_reference_ms(ms);
  calibration.set_verdict("VALID");
  return calibration;
}

TEST(ReferenceBaselinesTest, HoldForOneStateOfTheDevice) {
  const TemporaryFolder folder;
  const ReferenceBaselines baselines(folder.path() / "baselines");
  EXPECT_FALSE(baselines.of("before"));
  ASSERT_TRUE(baselines.keep(taken("before", 0.5)));
  ASSERT_TRUE(baselines.keep(taken("after", 0.6)));
  EXPECT_EQ(baselines.of("before")->reference_ms(), 0.5);
  EXPECT_EQ(baselines.of("after")->reference_ms(), 0.6);
  EXPECT_FALSE(baselines.of("another"));
  ASSERT_TRUE(baselines.keep(taken("before", 0.51)));
  EXPECT_EQ(ReferenceBaselines(folder.path() / "baselines").of("before")->reference_ms(), 0.51);
}

TEST(ReferenceBaselinesTest, ADamagedFileIsNone) {
  const TemporaryFolder folder;
  const ReferenceBaselines baselines(folder.path());
  ASSERT_TRUE(baselines.keep(taken("before", 0.5)));
  std::ofstream(folder.path() / "before") << "no calibration";
  EXPECT_FALSE(baselines.of("before"));
  std::filesystem::copy_file(folder.path() / "before", folder.path() / "other");
  EXPECT_FALSE(baselines.of("other"));
}

TEST(ReferenceBaselinesTest, WithoutAFolderNothingIsKept) {
  EXPECT_FALSE(ReferenceBaselines().keep(taken("before", 0.5)));
  EXPECT_FALSE(ReferenceBaselines().of("before"));
}

}  // namespace
}  // namespace finch::agent
