#include "agent/self_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "agent/reference_check.hpp"
#include "agent/scripted_backend.hpp"
#include "protocol/farm.pb.h"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::Not;
using State = CheckedThing::State;
using std::chrono::sys_days;
using std::chrono::year;

constexpr auto kNow = sys_days(year(2026) / 5 / 1);
constexpr std::chrono::nanoseconds kFine{1};

auto thing(const char* what, State state, const char* words) {
  return AllOf(Field(&CheckedThing::what, what), Field(&CheckedThing::state, state),
               Field(&CheckedThing::says, HasSubstr(words)));
}

class SelfCheck : public testing::Test {
 protected:
  SelfCheck() {
    folder_.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    folder_.write("sys/class/thermal/thermal_zone0/temp", "48312\n");
    auto& runtime = *device_.add_runtimes();
    runtime.set_name("onnxruntime");
    runtime.set_version("1.22.1");
  }
  std::vector<CheckedThing> check(std::chrono::system_clock::time_point now = kNow,
                                  std::chrono::nanoseconds resolution = kFine, int landlock = 4) const {
    return check_self(device_, SystemFiles(folder_.path()), state_, now, resolution, landlock);
  }
  TemporaryFolder folder_;
  std::filesystem::path state_ = folder_.path() / "state";
  protocol::DeviceDescription device_;
};

TEST_F(SelfCheck, AHealthyBoardIsGood) {
  const auto things = check();
  EXPECT_FALSE(any_failed(things));
  EXPECT_THAT(things, Contains(thing("runtime", State::kGood, "onnxruntime 1.22.1 loads and computes")));
  EXPECT_THAT(things, Contains(thing("state folder", State::kGood, "can be written")));
  EXPECT_THAT(things, Contains(thing("clock", State::kGood, "2026-05-01")));
  EXPECT_THAT(things, Contains(thing("sensors", State::kGood, "1 of 1 temperature")));
  EXPECT_TRUE(std::filesystem::is_empty(state_)) << "what it writes to try is taken away";
}

TEST_F(SelfCheck, NoRuntimeIsAFailureSaidOnce) {
  device_.clear_runtimes();
  for (const char* quantity : {"latency", "memory", "energy"}) {
    device_.add_cannot_measure(std::string(quantity) + ": ONNX Runtime not found");
  }
  const auto things = check();
  EXPECT_TRUE(any_failed(things));
  EXPECT_EQ(std::ranges::count(things, "runtime", &CheckedThing::what), 1);
  EXPECT_THAT(things, Contains(thing("runtime", State::kFailed, "ONNX Runtime not found")));
}

TEST_F(SelfCheck, NoPowerSensorIsAWarning) {
  device_.add_cannot_measure("energy: no power sensor found");
  const auto things = check();
  EXPECT_FALSE(any_failed(things));
  EXPECT_THAT(things, Contains(thing("sensors", State::kWarning, "cannot measure energy")));
}

TEST_F(SelfCheck, AStateFolderThatCannotBeMadeIsNamed) {
  std::ofstream(state_) << "a file";
  EXPECT_THAT(check(), Contains(thing("state folder", State::kFailed, state_.c_str())));
}

TEST_F(SelfCheck, AClockInThePastIsAWarningACoarseOneAFailure) {
  EXPECT_THAT(check(sys_days(year(1970) / 1 / 1)), Contains(thing("clock", State::kWarning, "1970-01-01")));
  EXPECT_THAT(check(kNow, std::chrono::milliseconds(4)), Contains(thing("clock", State::kFailed, "4000000 ns")));
}

TEST_F(SelfCheck, SensorsThatAreOfflineAreNamed) {
  folder_.write("sys/class/thermal/thermal_zone0/temp", "-256000\n");
  EXPECT_THAT(check(), Contains(thing("sensors", State::kWarning, "no temperature")));
}

TEST_F(SelfCheck, AKernelWithoutLandlockIsAWarning) {
  EXPECT_THAT(check(), Contains(thing("sandbox", State::kGood, "(Landlock 4)")));
  EXPECT_THAT(check(kNow, kFine, 0), Contains(thing("sandbox", State::kWarning, "can read what this user can")));
}

TEST_F(SelfCheck, IsWrittenForPeopleAndPrograms) {
  const std::vector<CheckedThing> things = {{"clock", State::kWarning, "it shows \"1970\""}};
  EXPECT_EQ(check_line(things[0]), "warning  clock: it shows \"1970\"");
  EXPECT_EQ(check_json(things),
            R"({"good": true, "checks": [{"what": "clock", "state": "warning", "says": "it shows \"1970\""}]})");
}

// Gives logits of its own.
class WrongSession : public ScriptedSession {
 public:
  WrongSession(ManualClock& clock, std::vector<float> logits)
      : ScriptedSession(clock, [](std::size_t) { return std::chrono::nanoseconds(1); }), logits_(std::move(logits)) {}
  std::expected<FloatTensor, Error> output(std::size_t) const override { return FloatTensor{{1, 10}, logits_}; }

 private:
  std::vector<float> logits_;
};

class WrongBackend : public ScriptedBackend {
 public:
  explicit WrongBackend(std::vector<float> logits)
      : ScriptedBackend(clock_, [](std::size_t) { return std::chrono::nanoseconds(1); }), logits_(std::move(logits)) {}
  std::expected<std::unique_ptr<InferenceSession>, Error> load(std::span<const std::byte>,
                                                               const SessionSettings&) override {
    return std::make_unique<WrongSession>(clock_, logits_);
  }

 private:
  ManualClock clock_;
  std::vector<float> logits_;
};

std::string complaint(std::vector<float> logits) {
  WrongBackend backend(std::move(logits));
  const auto checked = check_reference_network(backend);
  return checked ? "" : checked.error().message;
}

TEST(ReferenceCheck, AcceptsRoundedAndRefusesWrongLogits) {
  const std::vector<float> rounded = {1.03F, -2.0F, 6.8F, -4.7F, -3.2F, -6.25F, -1.4F, -1.92F, -0.5F, -3.6F};
  EXPECT_EQ(complaint(rounded), "");
  auto swapped = rounded;
  std::swap(swapped[0], swapped[2]);
  EXPECT_THAT(complaint(swapped), AllOf(HasSubstr("logit 0 is 6.8"), HasSubstr("another build")));
  auto not_a_number = rounded;
  not_a_number[9] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(complaint(not_a_number), HasSubstr("logit 9"));
  EXPECT_THAT(complaint({1, 2}), HasSubstr("2 logits"));
}

}  // namespace
}  // namespace finch::agent
