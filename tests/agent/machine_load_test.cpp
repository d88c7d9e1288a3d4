#include "agent/machine_load.hpp"

#include <gtest/gtest.h>

#include "agent/core_choice.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

class MachineLoadTest : public testing::Test {
 protected:
  // Ticks of 10 ms of two cores; stalls in microseconds.
  void set(int user, int idle, int steal, int cpu_stall) {
    folder_.write("proc/stat", "cpu  " + std::to_string(user) + " 0 0 " + std::to_string(idle) + " 0 0 0 " +
                                   std::to_string(steal) + " 0 0\ncpu0 1 2 3\n");
    folder_.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.01 avg300=0.69 total=" + std::to_string(cpu_stall) +
                                           "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  }
  // As if `seconds` had passed, in which this process used `own` of CPU time.
  MachineLoad between(LoadSnapshot before, LoadSnapshot after, double seconds, double own) const {
    before.at = {};
    after.at = std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
    before.own_cpu_seconds = 5;
    after.own_cpu_seconds = 5 + own;
    return load_between(before, after);
  }
  LoadSnapshot read() const { return read_load(SystemFiles(folder_.path())); }
  TemporaryFolder folder_;
};

TEST_F(MachineLoadTest, OwnTimeIsNotForeign) {
  set(1000, 5000, 0, 100);
  const LoadSnapshot before = read();
  set(2000, 6000, 0, 100);  // 10 s of two cores: one busy
  EXPECT_NEAR(between(before, read(), 10, 10).foreign_cpu(), 0.0, 1e-9);
  EXPECT_NEAR(between(before, read(), 10, 9).foreign_cpu(), 0.05, 1e-9);
  EXPECT_NEAR(between(before, read(), 10, 10.4).foreign_cpu(), 0.0, 1e-9);  // ticks are coarse: never below 0
}

TEST_F(MachineLoadTest, StolenTimeIsForeign) {
  set(1000, 5000, 0, 100);
  const LoadSnapshot before = read();
  set(2000, 5900, 100, 100);
  EXPECT_NEAR(between(before, read(), 10, 10).foreign_cpu(), 0.05, 1e-9);
}

TEST_F(MachineLoadTest, PressureIsTheShareOfTheTimeStalled) {
  set(0, 0, 0, 1'000'000);
  const LoadSnapshot before = read();
  set(0, 0, 0, 1'300'000);
  EXPECT_NEAR(between(before, read(), 10, 0).cpu_pressure(), 0.03, 1e-9);
}

TEST_F(MachineLoadTest, WhatIsNotThereIsAbsent) {
  folder_.write("proc/uptime", "1 1");  // so that this root has a proc, with nothing in it
  const MachineLoad load = between(read(), read(), 1, 0);
  EXPECT_FALSE(load.has_foreign_cpu());
  EXPECT_FALSE(load.has_cpu_pressure());
  EXPECT_FALSE(load.has_memory_pressure());
}

TEST(MachineLoad, OfThisMachineIsReadable) {
  const LoadSnapshot snapshot = read_load(SystemFiles());
  ASSERT_TRUE(snapshot.busy_cpu_seconds);
  EXPECT_GT(*snapshot.total_cpu_seconds, *snapshot.busy_cpu_seconds);
}

TEST(CoreChoice, TakesTheFastestThenTheHighest) {
  const TemporaryFolder folder;
  const SystemFiles files(folder.path());
  EXPECT_EQ(choose_cores(files, {0, 1, 2, 3}, 1), std::vector<int>{3});
  EXPECT_EQ(choose_cores(files, {0, 1, 2, 3}, 2), (std::vector<int>{2, 3}));
  EXPECT_EQ(choose_cores(files, {0, 1}, 4), (std::vector<int>{0, 1}));
  folder.write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000");
  folder.write("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "2400000");
  folder.write("sys/devices/system/cpu/cpu2/cpufreq/cpuinfo_max_freq", "1800000");
  folder.write("sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq", "1800000");
  EXPECT_EQ(choose_cores(files, {0, 1, 2, 3}, 1), std::vector<int>{1});
  EXPECT_EQ(choose_cores(files, {0, 1, 2, 3}, 3), (std::vector<int>{0, 1, 3}));
}

}  // namespace
}  // namespace finch::agent
