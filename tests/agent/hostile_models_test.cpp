// Models that go wrong on purpose, and a runtime that does: each costs a measurement, and the agent lives on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <limits>

#include "agent/landlock.hpp"
#include "agent/launch.hpp"
#include "agent/launch.pb.h"
#include "agent/measure.hpp"
#include "agent/sandbox.hpp"
#include "tests/agent/onnx_bytes.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using namespace onnx_bytes;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr std::int64_t kHuge = std::int64_t{1} << 20U;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// A limit that no model of these tests needs to reach, and that a machine with little memory survives.
Launcher strict_launcher() {
  return process_launcher({.program = agent_program(),
                           .silence = std::chrono::seconds(100),
                           .memory_bytes = std::int64_t{1} << 30U,
                           .processor_time = std::chrono::seconds(2)});
}

class HostileModel : public testing::Test {
 protected:
  std::expected<MeasureOutcome, Error> measure_bytes(const std::string& bytes) const {
    protocol::Deploy deploy;
    deploy.set_runtime("onnxruntime");
    deploy.set_provider("cpu");
    deploy.set_threads(1);
    deploy.set_batch(1);
    return measure(folder_.write("hostile.onnx", bytes), deploy, *find_tier("quick"),
                   {.launcher = strict_launcher(), .files = SystemFiles(folder_.path())}, {});
  }
  // It is a verdict: INVALID, without figures, with this reason.
  void expect_verdict(const std::string& bytes, const testing::Matcher<std::string>& reason) const {
    const auto outcome = measure_bytes(bytes);
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_EQ(outcome->measurement.verdict(), "INVALID");
    EXPECT_THAT(outcome->measurement.reasons(), testing::ElementsAre(reason));
    EXPECT_EQ(outcome->measurement.latency_median_ms(), 0);
  }
  // It is no model at all: the user's file is wrong, and why is said in a line.
  void expect_refused(const std::string& bytes, const testing::Matcher<std::string>& why) const {
    const auto outcome = measure_bytes(bytes);
    ASSERT_FALSE(outcome);
    EXPECT_TRUE(outcome.error().bad_input);
    EXPECT_FALSE(outcome.error().retryable);
    EXPECT_THAT(outcome.error().message, AllOf(why, Not(HasSubstr("\n"))));
  }
  TemporaryFolder folder_;
};

const std::string kInput = input("x", kFloat, {1, 4});
const std::string kOutput = output("y", kFloat, {1, 4});

TEST_F(HostileModel, ThatIsTruncated) {
  const std::string whole = read_whole(reference_model());
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{100}, whole.size() / 2, whole.size() - 1}) {
    expect_refused(whole.substr(0, size), HasSubstr("hostile.onnx"));
  }
}

TEST_F(HostileModel, ThatIsNoise) {
  std::string noise;
  for (unsigned i = 0; i < 10'000; ++i) noise += static_cast<char>(i * 2'654'435'761U >> 13U);
  expect_refused(noise, HasSubstr("cannot be loaded"));
}

TEST_F(HostileModel, OfAnOpsetFromTheFuture) {
  expect_refused(model(node("Relu", {"x"}, {"y"}) + kInput + kOutput, 9999), HasSubstr("cannot be loaded"));
}

TEST_F(HostileModel, WithAnOperatorThatNobodyKnows) {
  expect_refused(model(node("Devour", {"x"}, {"y"}, bytes(7, "com.evil")) + kInput + kOutput),
                 HasSubstr("cannot be loaded"));
}

TEST_F(HostileModel, WithShapesThatDoNotFit) {
  const std::string weights = tensor("w", kFloat, {5, 4}, std::string(5 * 4 * 4, '\0'));
  expect_refused(model(node("MatMul", {"x", "w"}, {"y"}) + initializer(weights) + kInput + kOutput),
                 AnyOf(HasSubstr("cannot be loaded"), HasSubstr("does not run")));
}

TEST_F(HostileModel, WithWeightsThatClaimMoreThanThereAre) {
  const std::string weights = tensor("w", kFloat, {kHuge, kHuge}, "abcd");  // 4 TiB in a file of 100 bytes
  expect_refused(model(node("Add", {"x", "w"}, {"y"}) + initializer(weights) + kInput + kOutput),
                 HasSubstr("cannot be loaded"));
}

TEST_F(HostileModel, WithWeightsInAFileThatIsNotThere) {
  const std::string elsewhere = bytes(13, bytes(1, "location") + bytes(2, "../nowhere.bin")) + number(14, 1);
  const std::string weights = tensor("w", kFloat, {1, 4}, "", elsewhere);
  expect_refused(model(node("Add", {"x", "w"}, {"y"}) + initializer(weights) + kInput + kOutput),
                 HasSubstr("cannot be loaded"));
}

TEST_F(HostileModel, ThatIsNestedTooDeep) {
  std::string graph = node("Identity", {"x"}, {"y"}) + output("y", kFloat, {1, 4});
  for (int i = 0; i < 200; ++i) {
    const std::string branch = named_graph("b", graph);
    graph = node("If", {"c"}, {"y"}, graph_attribute("then_branch", branch)) + output("y", kFloat, {1, 4});
  }
  expect_refused(model(graph + kInput + input("c", kBool, {})), HasSubstr("cannot be loaded"));
}

TEST_F(HostileModel, WhoseInputDoesNotFitIntoAnyNumber) {
  const Shape overflowing{std::int64_t{1} << 32U, std::int64_t{1} << 32U};
  expect_refused(model(node("Relu", {"x"}, {"y"}) + input("x", kFloat, overflowing) + output("y", kFloat, overflowing)),
                 HasSubstr("too large"));
}

TEST_F(HostileModel, WhoseInputIsLargerThanTheMemory) {
  if (kSanitized) GTEST_SKIP() << "memory is not limited with a sanitizer";
  const Shape huge{1, std::int64_t{1} << 32U};
  expect_verdict(model(node("Relu", {"x"}, {"y"}) + input("x", kFloat, huge) + output("y", kFloat, huge)),
                 HasSubstr("more memory than the 1024 MiB"));
}

TEST_F(HostileModel, ThatAllocatesMoreThanThereIs) {
  if (kSanitized) GTEST_SKIP() << "memory is not limited with a sanitizer";
  for (const Shape& shape : {Shape{kHuge, kHuge}, Shape{std::int64_t{1} << 14U, std::int64_t{1} << 16U}}) {
    const std::string wanted = tensor("shape", kInt64, {2}, raw_int64(shape));
    // The input takes part, so that nothing is computed while loading.
    expect_verdict(model(node("ConstantOfShape", {"shape"}, {"big"}) + node("ReduceMax", {"big"}, {"most"}) +
                         node("Add", {"x", "most"}, {"y"}) + initializer(wanted) + kInput + kOutput),
                   HasSubstr("more memory than the 1024 MiB"));
  }
}

TEST_F(HostileModel, ThatLoopsForever) {
  const std::string body =
      named_graph("body", node("Identity", {"going"}, {"going_on"}) + node("Add", {"a", "x"}, {"b"}) +
                              input("i", kInt64, {}) + input("going", kBool, {}) + input("a", kFloat, {1, 4}) +
                              output("going_on", kBool, {}) + output("b", kFloat, {1, 4}));
  const std::string most = tensor("most", kInt64, {}, raw_int64({std::numeric_limits<std::int64_t>::max()}));
  const std::string yes = tensor("yes", kBool, {}, std::string(1, '\1'));
  expect_verdict(model(node("Loop", {"most", "yes", "x"}, {"y"}, graph_attribute("body", body)) + initializer(most) +
                       initializer(yes) + kInput + kOutput),
                 HasSubstr("used more than 2 s of processor time"));
}

#if defined(__x86_64__)
// Other processors give a number for a division by zero.
TEST_F(HostileModel, ThatCrashesTheRuntime) {
  const std::string one = tensor("one", kInt32, {1}, std::string("\1\0\0\0", 4));
  expect_verdict(
      model(node("Div", {"one", "x"}, {"y"}) + initializer(one) + input("x", kInt32, {1}) + output("y", kInt32, {1})),
      HasSubstr("killed by signal 8"));
}
#endif

TEST_F(HostileModel, ThatGivesNoNumbers) {
  const auto outcome = measure_bytes(read_whole(test_model("not_finite")));
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->measurement.verdict(), "INVALID");
  EXPECT_THAT(outcome->measurement.reasons(), testing::Contains(HasSubstr("not finite")));
}

TEST_F(HostileModel, AndThenTheNextOneIsMeasured) {
  const auto outcome = measure_bytes(read_whole(reference_model()));
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_NE(outcome->measurement.verdict(), "INVALID");
}

// What runs in the measuring process may not do, whoever it is.
class HostileRuntime : public testing::TestWithParam<const char*> {
 protected:
  std::expected<LaunchEvent, Error> commit(const char* deed, LaunchRequest request = probe()) const {
    setenv("FINCH_MISDEED", deed, 1);
    setenv("FINCH_VICTIM", victim_.c_str(), 1);
    request.set_library((agent_program().parent_path() / "libhostile_runtime.so").string());
    return strict_launcher()(request, {}, {});
  }
  static LaunchRequest probe() {
    LaunchRequest request;
    request.mutable_probe();
    return request;
  }
  TemporaryFolder folder_;
  std::filesystem::path victim_ = folder_.write("victim", "precious");
};

TEST_P(HostileRuntime, IsRefused) {
  if (kSanitized) GTEST_SKIP() << "the library is made without a sanitizer";
  const auto event = commit(GetParam());
  ASSERT_FALSE(event);
  EXPECT_TRUE(event.error().model_failed);
  EXPECT_THAT(event.error().message, HasSubstr("ended with status 65"));
  EXPECT_EQ(read_whole(victim_), "precious");
}

// What only Landlock refuses.
class HostileReader : public HostileRuntime {};

TEST_P(HostileReader, IsRefused) {
  if (kSanitized) GTEST_SKIP() << "the library is made without a sanitizer";
  if (landlock_version() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  EXPECT_THAT(commit(GetParam()).error().message, HasSubstr("ended with status 65"));
}

INSTANTIATE_TEST_SUITE_P(Deeds, HostileReader,
                         testing::Values("read a file", "list a folder", "read a user's list",
                                         "read the agent's environment"));

// In a task that writes: only where it is to.
class HostileWriter : public HostileRuntime {};

TEST_P(HostileWriter, IsRefused) {
  if (kSanitized) GTEST_SKIP() << "the library is made without a sanitizer";
  if (landlock_version() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  LaunchRequest request;
  request.set_engine_folder(folder_.write("engine/first", "").parent_path().string());
  request.mutable_build_engine();
  EXPECT_THAT(commit(GetParam(), request).error().message, HasSubstr("ended with status 65"));
  EXPECT_EQ(read_whole(victim_), "precious");
  // Where the task names the victim's folder it is no crime.
  request.set_engine_folder(folder_.path().string());
  if (std::string_view(GetParam()) == "change a mode") return;
  EXPECT_THAT(commit(GetParam(), request).error().message, HasSubstr("ended with status 66"));
}

INSTANTIATE_TEST_SUITE_P(Deeds, HostileWriter,
                         testing::Values("read a file", "list a folder", "write a file", "make a file", "delete a file",
                                         "move a file", "change a mode"));

INSTANTIATE_TEST_SUITE_P(Deeds, HostileRuntime,
                         testing::Values("socket", "local socket", "fork", "run a program", "kill the agent",
                                         "kill everybody", "trace the agent", "leave the group", "raise a limit",
                                         "write a file", "make a file", "delete a file", "move a file",
                                         "open with a new call", "write the agent's memory", "take all memory"));

// With a GPU's provider: what CUDA does is allowed (it names its threads and keeps a local socket), nothing else is.
class HostileGpuRuntime : public HostileRuntime {
 protected:
  std::string outcome(const char* deed) {
    LaunchRequest request = probe();
    request.set_provider("cuda");
    return commit(deed, request).error().message;
  }
};

TEST_P(HostileGpuRuntime, IsRefused) {
  if (kSanitized) GTEST_SKIP() << "the library is made without a sanitizer";
  if (landlock_version() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  EXPECT_THAT(outcome(GetParam()), HasSubstr("ended with status 65"));
  EXPECT_EQ(read_whole(victim_), "precious");
}

INSTANTIATE_TEST_SUITE_P(Deeds, HostileGpuRuntime,
                         testing::Values("socket", "local datagrams", "raw local datagrams", "connect", "fork",
                                         "run a program", "kill the agent", "trace the agent", "read a file",
                                         "write a file", "make a file", "delete a file", "move a file",
                                         "write the agent's memory"));

TEST_F(HostileGpuRuntime, MayDoWhatCudaDoes) {
  if (kSanitized) GTEST_SKIP() << "the library is made without a sanitizer";
  EXPECT_THAT(outcome("name a thread"), HasSubstr("ended with status 66"));
  EXPECT_THAT(outcome("listen"), HasSubstr("ended with status 66"));
}

TEST_F(HostileRuntime, EndsInAReasonHoweverItEnds) {
  if (kSanitized) GTEST_SKIP() << "the library is made without a sanitizer";
  EXPECT_THAT(commit("crash").error().message, HasSubstr("signal 11"));
  EXPECT_THAT(commit("abort").error().message, HasSubstr("signal 6"));
  EXPECT_THAT(commit("loop").error().message, HasSubstr("more than 2 s of processor time"));
  EXPECT_THAT(commit("leave quietly").error().message, HasSubstr("ended with status 0 and no result"));
  EXPECT_THAT(commit("talk nonsense").error().message, HasSubstr("no message"));
  EXPECT_THAT(commit("threads").error().message, HasSubstr("status 66"));  // which are no crime
}

TEST(MemoryToSpare, IsFourFifthsOfTheSmallerOfMachineAndControlGroup) {
  const TemporaryFolder folder;
  const SystemFiles files(folder.path());
  folder.write("proc/meminfo", "MemTotal:  8000000 kB\nMemAvailable:    1000000 kB\n");
  EXPECT_EQ(memory_to_spare(files, 0.8), 1000000LL * 1024 / 5 * 4);
  folder.write("sys/fs/cgroup/memory.max", "max\n");
  folder.write("sys/fs/cgroup/memory.current", "50000000\n");
  EXPECT_EQ(memory_to_spare(files, 0.8), 1000000LL * 1024 / 5 * 4);
  folder.write("sys/fs/cgroup/memory.max", "150000000\n");
  EXPECT_EQ(memory_to_spare(files, 0.8), 80'000'000);
  folder.write("proc/meminfo", "nonsense");
  EXPECT_EQ(memory_to_spare(files, 0.8), 80'000'000);
}

}  // namespace
}  // namespace finch::agent
