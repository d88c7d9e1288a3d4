// The measuring process with the real ONNX Runtime of this machine, and with programs that go wrong in its place.
#include "agent/launch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <limits>
#include <thread>

#include "agent/onnxruntime_backend.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::AllOf;
using testing::Each;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Not;
using testing::Pointwise;
using testing::SizeIs;

LaunchRequest request_for(const std::filesystem::path& model) {
  LaunchRequest request;
  request.set_model(model.string());
  request.set_provider("cpu");
  request.set_threads(1);
  request.set_batch(1);
  return request;
}

std::expected<LaunchEvent, Error> launch(const LaunchRequest& request, std::stop_token stop = {}) {
  return process_launcher({.program = agent_program()})(request, {}, stop);
}

// Starts a shell script in the place of finch-agent.
std::expected<LaunchEvent, Error> launch_script(const std::string& script, std::stop_token stop = {},
                                                std::chrono::milliseconds silence = std::chrono::minutes(1)) {
  const TemporaryFolder folder;
  const std::filesystem::path program = folder.write("agent", "#!/bin/sh\n" + script + "\n");
  chmod(program.c_str(), 0755);
  return process_launcher({.program = program, .silence = silence})(request_for("m.onnx"), {}, stop);
}

std::string bytes_of(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> floats_of(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

// One input of floats through a model; the output's values.
std::vector<float> infer(const std::filesystem::path& model, const std::string& input,
                         const std::vector<std::int64_t>& shape) {
  const TemporaryFolder folder;
  LaunchRequest request = request_for(model);
  request.mutable_infer()->set_input(folder.write("in.bin", input).string());
  request.mutable_infer()->set_output((folder.path() / "out.bin").string());
  request.mutable_infer()->mutable_shape()->Assign(shape.begin(), shape.end());
  const auto event = launch(request);
  if (!event) {
    ADD_FAILURE() << event.error().message;
    return {};
  }
  return floats_of(read_whole(folder.path() / "out.bin"));
}

LaunchRequest latency_request(const std::filesystem::path& model) {
  LaunchRequest request = request_for(model);
  LatencyTask& task = *request.mutable_latency();
  task.set_rounds(3);
  task.set_candidate_block_seconds(0.02);
  task.set_reference_block_seconds(0.02);
  task.set_candidate_block_queries(30);
  task.set_warm_up_minimum_seconds(0.05);
  task.set_warm_up_cap_seconds(0.1);
  task.set_warm_up_agreement(0.5);
  return request;
}

TEST(Launch, ProbesTheRuntime) {
  LaunchRequest request;
  request.mutable_probe();
  const auto event = launch(request);
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_THAT(event->probe().version(), testing::StartsWith("1."));
  EXPECT_THAT(event->probe().providers(), testing::Contains("cpu"));
  EXPECT_TRUE(std::filesystem::exists(event->probe().library()));
}

TEST(Launch, MeasuresLatency) {
  const auto event = launch(latency_request(reference_model()));
  ASSERT_TRUE(event) << event.error().message;
  const LatencyResult& result = event->latency();
  EXPECT_THAT(result.candidate_median_ms(), AllOf(SizeIs(3), Each(testing::Gt(0))));
  EXPECT_THAT(result.reference_median_ms(), AllOf(SizeIs(3), Each(testing::Gt(0))));
  EXPECT_GE(result.candidate_ms_size(), 90);
  EXPECT_THAT(result.candidate_ms(), Each(testing::Gt(0)));
  EXPECT_THAT(result.signature(), SizeIs(10));
  EXPECT_TRUE(result.outputs_finite());
  EXPECT_GT(result.load().seconds(), 0.1);
}

TEST(Launch, OutputsAreTheSameInEveryProcess) {
  const auto first = launch(latency_request(reference_model()));
  const auto second = launch(latency_request(reference_model()));
  ASSERT_TRUE(first && second);
  EXPECT_THAT(second->latency().signature(), Pointwise(testing::DoubleEq(), first->latency().signature()));
}

TEST(Launch, NoticesOutputsThatAreNotFinite) {
  const auto event = launch(latency_request(test_model("not_finite")));
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_FALSE(event->latency().outputs_finite());
}

TEST(Launch, MeasuresMemory) {
  LaunchRequest request = request_for(reference_model());
  request.mutable_memory()->set_runs(3);
  const auto event = launch(request);
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->memory().problem(), "");
  EXPECT_GT(event->memory().load_peak_bytes(), 1 << 20);
  EXPECT_GT(event->memory().run_peak_bytes(), 1 << 20);
  EXPECT_LT(event->memory().load_peak_bytes(), std::int64_t{1} << 32);
}

TEST(Launch, InfersWhatTheNetworkComputes) {
  EXPECT_THAT(infer(test_model("brightest"), bytes_of({0.1F, 0.9F, 0.2F, 0.3F}), {1, 1, 2, 2}),
              testing::ElementsAre(0.1F, 0.9F, 0.2F, 0.3F));
}

TEST(Launch, TreatsDenormalsAsZero) {
  const float denormal = std::numeric_limits<float>::denorm_min() * 1000;
  EXPECT_THAT(infer(test_model("times_one"), bytes_of({denormal, 1e-30F, -denormal, 2.0F}), {1, 4}),
              testing::ElementsAre(0.0F, 1e-30F, 0.0F, 2.0F));
}

// The last field of a serialized TensorProto in onnx's test data is its raw values.
std::string raw_tail(const std::filesystem::path& tensor, std::size_t values) {
  const std::string bytes = read_whole(tensor);
  return bytes.substr(bytes.size() - values * sizeof(float));
}

TEST(Launch, AgreesWithOnnxTestData) {
  const std::filesystem::path data = "/usr/share/libonnx-testdata/data";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "libonnx-testdata is not installed";
  const auto pooled = data / "node" / "test_averagepool_2d_default";
  EXPECT_THAT(
      infer(pooled / "model.onnx", raw_tail(pooled / "test_data_set_0" / "input_0.pb", 3 * 32 * 32), {1, 3, 32, 32}),
      Pointwise(FloatNear(1e-5F), floats_of(raw_tail(pooled / "test_data_set_0" / "output_0.pb", 3 * 31 * 31))));
  // Its weights are all alike, so every input gives the same output.
  const std::vector<float> image(3 * 224 * 224, 0.5F);
  EXPECT_THAT(infer(data / "light" / "light_squeezenet.onnx", bytes_of(image), {1, 3, 224, 224}),
              Pointwise(FloatNear(1e-6F), floats_of(raw_tail(data / "light" / "light_squeezenet_output_0.pb", 1000))));
}

TEST(Launch, ExplainsAModelThatIsNone) {
  const TemporaryFolder folder;
  const std::string whole = read_whole(reference_model());
  for (const auto& [name, bytes] : std::map<std::string, std::string>{
           {"truncated.onnx", whole.substr(0, 20000)}, {"empty.onnx", ""}, {"text.onnx", "hello, world\n"}}) {
    LaunchRequest request = request_for(folder.write(name, bytes));
    request.mutable_memory()->set_runs(1);
    const auto event = launch(request);
    ASSERT_FALSE(event) << name;
    EXPECT_THAT(event.error().message, AllOf(HasSubstr(name), HasSubstr("cannot be loaded"), Not(HasSubstr("\n"))));
    EXPECT_FALSE(event.error().retryable);
    EXPECT_TRUE(event.error().bad_input);
  }
}

TEST(Launch, ExplainsWhatDoesNotFitTheModel) {
  LaunchRequest request = request_for(test_model("brightest_batch3"));
  request.set_batch(2);
  request.mutable_memory()->set_runs(1);
  EXPECT_THAT(launch(request).error().message, HasSubstr("made for batch 3"));
  request = request_for(test_model("free_size"));
  request.mutable_memory()->set_runs(1);
  EXPECT_THAT(launch(request).error().message, AllOf(HasSubstr("dimension 2 free"), HasSubstr("--shape x=")));
  request = request_for(reference_model());
  request.set_provider("cuda");
  request.mutable_memory()->set_runs(1);
  EXPECT_THAT(launch(request).error().message, HasSubstr("provider 'cuda'"));
}

TEST(Launch, FreeDimensionsAreGivenByName) {
  LaunchRequest request = request_for(test_model("free_size"));
  request.mutable_memory()->set_runs(1);
  protocol::InputShape& shape = *request.add_shapes();
  shape.set_name("x");
  for (const int extent : {2, 1, 5, 2}) shape.add_extents(extent);
  const auto event = launch(request);
  EXPECT_TRUE(event) << event.error().message;
  shape.set_extents(3, 3);
  EXPECT_THAT(launch(request).error().message, HasSubstr("input 'x' is free,1,free,2; 2,1,5,3 does not fit"));
  shape.set_name("y");
  EXPECT_THAT(launch(request).error().message, HasSubstr("dimension 2 free"));
}

TEST(Launch, ARivalTakesThePlaceOfTheReferenceNetwork) {
  LaunchRequest request = latency_request(reference_model());
  request.mutable_latency()->set_rival(test_model("times_one").string());
  const auto event = launch(request);
  ASSERT_TRUE(event) << event.error().message;
  // One multiplication against a convolutional network.
  for (int i = 0; i < 3; ++i) {
    EXPECT_LT(event->latency().reference_median_ms(i), event->latency().candidate_median_ms(i) / 2);
  }
  request.mutable_latency()->set_rival(test_model("nowhere").string());
  EXPECT_THAT(launch(request).error().message, HasSubstr("nowhere.onnx cannot be loaded"));
}

TEST(Launch, ExplainsAMissingRuntime) {
  LaunchRequest request;
  request.mutable_probe();
  request.set_library("/nowhere/libonnxruntime.so");
  EXPECT_THAT(launch(request).error().message, HasSubstr("--onnxruntime /nowhere/libonnxruntime.so: no such file"));
  const TemporaryFolder folder;
  request.set_library(folder.write("libonnxruntime.so", "no library").string());
  EXPECT_THAT(launch(request).error().message, HasSubstr("cannot load ONNX Runtime"));
}

TEST(Launch, ACrashIsRetryableAndQuotesTheLastWords) {
  const auto event = launch_script(
      "echo 'Schema error: Trying to register schema with name Foo' >&2; echo 'out of beans' >&2;"
      "echo 'Schema error: Trying to register schema with name Bar' >&2; kill -SEGV $$");
  ASSERT_FALSE(event);
  EXPECT_TRUE(event.error().retryable);
  EXPECT_THAT(event.error().message, AllOf(HasSubstr("signal 11"), HasSubstr("its last words: out of beans")));
}

TEST(Launch, AKillHintsAtMemory) {
  EXPECT_THAT(launch_script("kill -KILL $$").error().message, HasSubstr("memory ran out"));
}

TEST(Launch, AnEndWithoutAResultIsAnError) {
  const auto event = launch_script("exit 3");
  ASSERT_FALSE(event);
  EXPECT_THAT(event.error().message, HasSubstr("ended with status 3"));
}

TEST(Launch, AHungProcessIsEnded) {
  const auto event = launch_script("exec sleep 1000", {}, std::chrono::milliseconds(200));
  ASSERT_FALSE(event);
  EXPECT_TRUE(event.error().retryable);
  EXPECT_THAT(event.error().message, HasSubstr("nothing for 0.2 s"));
}

TEST(Launch, AStopRequestEndsTheProcess) {
  std::stop_source stop;
  std::expected<LaunchEvent, Error> event;
  std::jthread waiting([&] { event = launch_script("exec sleep 1000", stop.get_token()); });
  stop.request_stop();
  waiting.join();
  ASSERT_FALSE(event);
  EXPECT_TRUE(event.error().retryable);
}

TEST(Launch, NonsenseFromTheProcessIsAnError) {
  const auto event = launch_script("printf '\\377\\377\\377\\377' >&3; exec sleep 1000");
  ASSERT_FALSE(event);
  EXPECT_THAT(event.error().message, HasSubstr("no message"));
}

TEST(SchemaNoise, IsExactlyThoseLines) {
  EXPECT_TRUE(is_schema_noise("Schema error: Trying to register schema with name Gelu (domain:  version: 20)"));
  EXPECT_FALSE(is_schema_noise("Schema error: something else"));
  EXPECT_FALSE(is_schema_noise(" Schema error: Trying to register schema"));
}

TEST(RefuseLibrary, OnlyDebiansOldOnesOnCoresWithoutHalfPrecision) {
  const unsigned long without = 0x8ff & ~(1UL << 10U);
  const unsigned long with = 0x8ff | (1UL << 10U);
  const std::filesystem::path debian = "/usr/lib/aarch64-linux-gnu/libonnxruntime.so.1.21.0";
  ASSERT_TRUE(refuse_library(debian, "aarch64", without));
  EXPECT_THAT(*refuse_library(debian, "aarch64", without), HasSubstr("--onnxruntime PATH"));
  EXPECT_FALSE(refuse_library(debian, "aarch64", with));
  EXPECT_FALSE(refuse_library(debian, "x86_64", without));
  EXPECT_FALSE(refuse_library("/usr/lib/aarch64-linux-gnu/libonnxruntime.so.1.22.0", "aarch64", without));
  EXPECT_FALSE(refuse_library("/opt/onnxruntime/libonnxruntime.so.1.21.0", "aarch64", without));
}

}  // namespace
}  // namespace finch::agent
