#include "controller/campaign/drift_watch.hpp"

#include <gmock/gmock.h>

#include "controller/campaign/watch_store.hpp"
#include "tests/controller/campaign/memory_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

protocol::Measurement healthy() {
  protocol::Measurement m;
  m.set_verdict("VALID");
  m.set_device_state_hash("state 1");
  m.set_latency_median_ms(3.0);
  m.set_reference_median_ms(2.0);
  m.set_reference_ratio_median(1.5);
  m.set_reference_ratio_ci_low(1.48);
  m.set_reference_ratio_ci_high(1.52);
  return m;
}

TEST(FindDriftTest, InsideTheIntervalAndTwoPercentAroundItIsNone) {
  for (const double ratio : {1.5, 1.48 * 0.981, 1.52 * 1.019}) {
    protocol::Measurement now = healthy();
    now.set_reference_ratio_median(ratio);
    EXPECT_EQ(find_drift(healthy(), now).drift, Drift::none) << ratio;
  }
}

TEST(FindDriftTest, AModelThatTakesAnotherMultipleHasDrifted) {
  for (const double ratio : {1.48 * 0.979, 1.52 * 1.021}) {
    protocol::Measurement now = healthy();
    now.set_reference_ratio_median(ratio);
    EXPECT_EQ(find_drift(healthy(), now).drift, Drift::model) << ratio;
  }
}

TEST(FindDriftTest, ADeviceIsHeldAgainstItsCalibrationOrElseAgainstItselfThen) {
  protocol::Measurement now = healthy();
  now.set_reference_median_ms(2.05);
  EXPECT_EQ(find_drift(healthy(), now).drift, Drift::device);
  EXPECT_THAT(find_drift(healthy(), now).text, HasSubstr("+2.5 %"));
  now.set_baseline_ms(2.04);
  EXPECT_EQ(find_drift(healthy(), now).drift, Drift::none);
}

TEST(FindDriftTest, AnotherStateIsANewEpochWhateverItTakes) {
  protocol::Measurement now = healthy();
  now.set_device_state_hash("state 2");
  now.set_reference_ratio_median(3);
  EXPECT_EQ(find_drift(healthy(), now).drift, Drift::epoch);
}

class WatchStoreTest : public testing::Test {
 protected:
  WatchStore open() { return WatchStore::open(folder_.path() / "watch.db").value(); }
  static WatchedModel model(const std::string& name, const std::string& device) {
    WatchedModel model{.name = name, .device = device};
    model.job.set_tier("screen");
    return model;
  }
  MemoryFolder folder_;
};

TEST_F(WatchStoreTest, KeepsWhatItWasToldAcrossProcesses) {
  {
    WatchStore store = open();
    ASSERT_TRUE(store.add(model("camera", "pi-1")));
    ASSERT_TRUE(store.add(model("camera", "pi-2")));
    WatchedModel checked = store.all()->front();
    EXPECT_FALSE(checked.baseline);
    checked.baseline = healthy();
    checked.checks = 3;
    checked.checked = 1'700'000'000;
    checked.alarm = "device";
    ASSERT_TRUE(store.save(checked));
  }
  const auto all = open().all().value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].baseline->reference_ratio_median(), 1.5);
  EXPECT_EQ(all[0].checks, 3);
  EXPECT_EQ(all[0].alarm, "device");
  EXPECT_EQ(all[0].job.tier(), "screen");
  EXPECT_EQ(all[1].device, "pi-2");
}

TEST_F(WatchStoreTest, AddingAgainBeginsAnewAndAnOldCheckChangesNothing) {
  WatchStore store = open();
  ASSERT_TRUE(store.add(model("camera", "pi-1")));
  WatchedModel old = store.all()->front();
  old.baseline = healthy();
  ASSERT_TRUE(store.add(model("camera", "pi-1")));
  ASSERT_TRUE(store.save(old));
  ASSERT_EQ(store.all()->size(), 1U);
  EXPECT_FALSE(store.all()->front().baseline);
}

TEST_F(WatchStoreTest, RemovesFromOneDeviceOrFromAll) {
  WatchStore store = open();
  for (const char* device : {"pi-1", "pi-2", "pi-3"}) ASSERT_TRUE(store.add(model("camera", device)));
  ASSERT_TRUE(store.remove("camera", "pi-2"));
  EXPECT_EQ(store.all()->size(), 2U);
  EXPECT_THAT(store.remove("camera", "pi-2").error().message, HasSubstr("'camera' is not watched on pi-2"));
  ASSERT_TRUE(store.remove("camera", ""));
  EXPECT_TRUE(store.all()->empty());
}

}  // namespace
}  // namespace finch::controller
