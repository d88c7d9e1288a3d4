#include "agent/disturbance.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "agent/core_choice.hpp"

namespace finch::agent {
namespace {

// The processes that this one has now.
std::set<pid_t> children() {
  std::ifstream file("/proc/self/task/" + std::to_string(getpid()) + "/children");
  std::set<pid_t> all;
  for (pid_t pid = 0; file >> pid;) all.insert(pid);
  return all;
}

// The n-th field of /proc/PID/stat behind the name, from 3.
std::int64_t stat_field(pid_t pid, int n) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  for (int i = 3; i <= n; ++i) fields >> field;
  return std::stoll(field);
}
std::int64_t cpu_ticks(pid_t pid) {
  return stat_field(pid, 14) + stat_field(pid, 15);
}
std::int64_t resident_bytes(pid_t pid) {
  return stat_field(pid, 24) * sysconf(_SC_PAGESIZE);
}

TEST(DisturbanceTest, KeepsEveryCoreBusyAndThenLeavesThemAlone) {
  const std::vector<int> cores = allowed_cores();
  {
    const auto busy = Disturbance::busy_cores(cores);
    ASSERT_TRUE(busy) << busy.error().message;
    const std::set<pid_t> processes = children();
    EXPECT_EQ(processes.size(), cores.size());
    for (const pid_t process : processes) {
      const std::int64_t before = cpu_ticks(process);
      while (cpu_ticks(process) < before + 3) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      cpu_set_t own;
      ASSERT_EQ(sched_getaffinity(process, sizeof own, &own), 0);
      EXPECT_EQ(CPU_COUNT(&own), 1);
    }
  }
  EXPECT_TRUE(children().empty());
}

TEST(DisturbanceTest, HoldsTheMemoryThatItWalksThrough) {
  constexpr std::int64_t kBytes = std::int64_t{48} << 20U;
  {
    const auto walk = Disturbance::memory_walk(kBytes);
    ASSERT_TRUE(walk) << walk.error().message;
    const std::set<pid_t> processes = children();
    ASSERT_EQ(processes.size(), 1u);
    EXPECT_GE(resident_bytes(*processes.begin()), kBytes);
    std::ifstream score("/proc/" + std::to_string(*processes.begin()) + "/oom_score_adj");
    int value = 0;
    score >> value;
    EXPECT_EQ(value, 1000);
  }
  EXPECT_TRUE(children().empty());
}

TEST(DisturbanceTest, SaysWhenThereIsNotSoMuchMemory) {
  const auto walk = Disturbance::memory_walk(std::int64_t{1} << 62U);
  ASSERT_FALSE(walk);
  EXPECT_NE(walk.error().message.find("MiB to walk through cannot be had"), std::string::npos);
}

}  // namespace
}  // namespace finch::agent
