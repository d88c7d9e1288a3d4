#include "agent/launch_rights.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/launch.hpp"
#include "agent/launch.pb.h"
#include "tests/agent/onnx_bytes.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using namespace onnx_bytes;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

// A model that adds weights from another file to its input.
std::string model_with_weights(const std::string& location) {
  const std::string elsewhere = bytes(13, bytes(1, "location") + bytes(2, location)) + number(14, 1);
  const std::string weights = tensor("w", kFloat, {1, 4}, "", elsewhere);
  return model(node("Add", {"x", "w"}, {"y"}) + initializer(weights) + input("x", kFloat, {1, 4}) +
               output("y", kFloat, {1, 4}));
}

TEST(WeightsOf, AreThoseThatTheModelNamesBelowItsFolder) {
  const TemporaryFolder folder;
  const auto named = [&](const std::string& location) {
    return weights_of(folder.write("model.onnx", model_with_weights(location)));
  };
  EXPECT_THAT(named("model.onnx.data"), ElementsAre(folder.path() / "model.onnx.data"));
  EXPECT_THAT(named("./parts/1.bin"), ElementsAre(folder.path() / "parts" / "1.bin"));
  const std::string longer(200, 'w');
  EXPECT_THAT(named(longer), ElementsAre(folder.path() / longer));
  EXPECT_THAT(named("/etc/passwd"), IsEmpty());
  EXPECT_THAT(named("../other.bin"), IsEmpty());
  EXPECT_THAT(named("parts/../../other.bin"), IsEmpty());
  EXPECT_THAT(weights_of(folder.write("cut.onnx", "\x0a\x08location\x12")), IsEmpty());
  EXPECT_THAT(weights_of(folder.write("empty.onnx", "")), IsEmpty());
  EXPECT_THAT(weights_of(folder.path() / "nowhere.onnx"), IsEmpty());
  EXPECT_THAT(weights_of(reference_model()), IsEmpty());
}

TEST(WeightsOf, AreReadByTheLaunch) {
  const TemporaryFolder folder;
  std::string ones;
  for (int i = 0; i < 4; ++i) ones += std::string("\0\0\x80\x3f", 4);
  folder.write("parts/weights.bin", ones);
  LaunchRequest request;
  request.set_model(folder.write("model.onnx", model_with_weights("parts/weights.bin")).string());
  request.set_provider("cpu");
  request.set_threads(1);
  request.set_batch(1);
  request.mutable_infer()->set_input(folder.write("in.bin", ones).string());
  request.mutable_infer()->set_output((folder.path() / "out.bin").string());
  request.mutable_infer()->add_shape(1);
  request.mutable_infer()->add_shape(4);
  const auto event = process_launcher({.program = agent_program()})(request, {}, {});
  ASSERT_TRUE(event) << event.error().message;
  std::string twos;
  for (int i = 0; i < 4; ++i) twos += std::string("\0\0\0\x40", 4);
  EXPECT_EQ(read_whole(folder.path() / "out.bin"), twos);
}

TEST(RightsOf, AreThoseOfTheTask) {
  LaunchRequest request;
  request.set_model("/models/a.onnx");
  request.set_engine_folder("/engines/a");
  request.mutable_latency()->set_rival("/models/b.onnx");
  FileRights rights = rights_of(request, "/opt/runtime/libonnxruntime.so");
  for (const char* path : {"/models/a.onnx", "/models/b.onnx", "/engines/a", "/opt/runtime", "/usr", "/proc"}) {
    EXPECT_THAT(rights.read, Contains(path));
  }
  for (const char* path : {"/models", "/etc", "/home", "/root", "/tmp", "/dev", "/"}) {
    EXPECT_THAT(rights.read, Not(Contains(path)));
  }
  EXPECT_THAT(rights.write, IsEmpty());
  EXPECT_THAT(rights.devices, ElementsAre("/dev/null"));
  request.mutable_build_engine()->set_timing_folder("/engines/timings");
  rights = rights_of(request, "/opt/runtime/libonnxruntime.so");
  EXPECT_THAT(rights.write, ElementsAre("/engines/a", "/engines/timings"));
  EXPECT_THAT(rights.read, Not(Contains("/models/b.onnx")));
}

}  // namespace
}  // namespace finch::agent
