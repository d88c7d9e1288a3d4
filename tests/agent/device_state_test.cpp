#include "agent/device_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

// A Raspberry Pi whose files the test changes between two readings.
class Board : public testing::Test {
 protected:
  Board() {
    folder_.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    set_millidegrees(48200);
    folder_.write("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand\n");
    folder_.write("sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq", "1500000\n");
    folder_.write("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "2400000\n");
    set_throttled("0");
  }
  void set_millidegrees(int value) {
    folder_.write("sys/class/thermal/thermal_zone0/temp", std::to_string(value) + "\n");
  }
  void set_throttled(const std::string& hex) {
    folder_.write("sys/devices/platform/soc/soc:firmware/get_throttled", hex + "\n");
  }
  DeviceState read() const { return read_device_state(SystemFiles(folder_.path())); }

  TemporaryFolder folder_;
};

TEST_F(Board, IsRead) {
  const DeviceState state = read();
  EXPECT_THAT(state.governors, ElementsAre(Pair("policy0", "ondemand")));
  EXPECT_THAT(state.frequency_limits, ElementsAre(Pair("policy0", "1500000..2400000 kHz")));
  EXPECT_THAT(state.temperatures, ElementsAre(Pair("cpu-thermal", 48.2)));
  EXPECT_EQ(state.firmware_throttled, 0U);
}

TEST_F(Board, NothingChangedIsNoReason) {
  set_throttled("50000");  // since boot, long before
  const DeviceState before = read();
  set_millidegrees(52000);
  const StateChanges changes = compare_states(before, {read()}, read(), 5);
  EXPECT_THAT(changes.invalidating, IsEmpty());
  EXPECT_THAT(changes.degrading, IsEmpty());
}

TEST_F(Board, LiveThrottlingOfAnySampleCountsOnce) {
  const DeviceState before = read();
  set_throttled("50005");  // the kernel may clear the sticky bits before the end
  const DeviceState sample = read();
  set_throttled("0");
  EXPECT_THAT(compare_states(before, {sample, sample}, read(), 5).invalidating,
              ElementsAre("the firmware reports: under-voltage", "the firmware reports: throttled"));
}

TEST_F(Board, AStickyBitThatIsNewCounts) {
  const DeviceState before = read();
  set_throttled("20000");
  EXPECT_THAT(compare_states(before, {}, read(), 5).invalidating,
              ElementsAre("the firmware reports: ARM frequency capped"));
}

TEST_F(Board, GovernorAndLimitsMustStay) {
  const DeviceState before = read();
  folder_.write("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n");
  folder_.write("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1800000\n");
  EXPECT_THAT(compare_states(before, {}, read(), 5).invalidating,
              UnorderedElementsAre("governor of policy0 changed from ondemand to powersave",
                                   HasSubstr("frequency limit of policy0 changed")));
}

TEST_F(Board, ASensorThatGoesOfflineInvalidates) {
  const DeviceState before = read();
  set_millidegrees(-256000);
  const DeviceState after = read();
  EXPECT_THAT(after.offline_sensors, ElementsAre("cpu-thermal"));
  EXPECT_THAT(after.temperatures, IsEmpty());
  EXPECT_THAT(compare_states(before, {}, after, 5).invalidating, Contains("sensor cpu-thermal went offline"));
}

TEST_F(Board, ASlopeDegrades) {
  const DeviceState before = read();
  set_millidegrees(60000);
  EXPECT_THAT(compare_states(before, {}, read(), 5).degrading, ElementsAre(HasSubstr("48.2 to 60.0")));
}

TEST_F(Board, UnderVoltageAlarmAndIntelCountersAreSeen) {
  folder_.write("sys/class/hwmon/hwmon3/name", "rpi_volt\n");
  folder_.write("sys/class/hwmon/hwmon3/in0_lcrit_alarm", "0\n");
  folder_.write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "4\n");
  const DeviceState before = read();
  EXPECT_THAT(compare_states(before, {}, before, 5).invalidating, IsEmpty());
  folder_.write("sys/class/hwmon/hwmon3/in0_lcrit_alarm", "1\n");
  folder_.write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "7\n");
  EXPECT_THAT(compare_states(before, {}, read(), 5).invalidating,
              UnorderedElementsAre("under-voltage was active", "thermal throttling of cpu0: 3 events"));
}

TEST(DeviceState, OfNothingIsEmpty) {
  const TemporaryFolder folder;
  const DeviceState state = read_device_state(SystemFiles(folder.path()));
  EXPECT_TRUE(state.governors.empty());
  EXPECT_TRUE(state.temperatures.empty());
  EXPECT_FALSE(state.firmware_throttled);
  EXPECT_THAT(compare_states(state, {}, state, 5).invalidating, IsEmpty());
}

TEST(DeviceState, OfARaspberryPi5) {
  const auto root = test_data("fakesys/pi5");
  if (!root) GTEST_SKIP() << "fakesys/pi5 is not there; set FINCH_TEST_DATA";
  const DeviceState state = read_device_state(SystemFiles(*root));
  EXPECT_EQ(state.governors.size(), 1U);
  EXPECT_EQ(state.frequency_limits.size(), 1U);
  EXPECT_EQ(state.temperatures.count("cpu-thermal"), 1U);
  EXPECT_TRUE(state.firmware_throttled.has_value());
}

TEST(DeviceState, OfAnOrinNx) {
  const auto root = test_data("fakesys/orin-nx");
  if (!root) GTEST_SKIP() << "fakesys/orin-nx is not there; set FINCH_TEST_DATA";
  const DeviceState state = read_device_state(SystemFiles(*root));
  EXPECT_EQ(state.temperatures.count("gpu-thermal"), 1U);
  EXPECT_THAT(state.offline_sensors, ElementsAre("cv0-thermal"));  // reads -256 degrees
  EXPECT_THAT(state.active_alerts, IsEmpty());
  EXPECT_EQ(state.throttle_counts.count("over-current oc1"), 1U);
  EXPECT_EQ(state.throttle_counts.count("over-current oc3"), 1U);
  EXPECT_FALSE(state.firmware_throttled);
}

}  // namespace
}  // namespace finch::agent
