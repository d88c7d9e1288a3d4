// Every runtime with its real library, in the sandbox: the same numbers from all, and damaged files that cost no agent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"
#include "agent/launch.pb.h"
#include "agent/measure.hpp"
#include "agent/runtime_list.hpp"
#include "protocol/model_format.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Not;
using testing::Pointwise;
using testing::SizeIs;

constexpr std::size_t kSide = 32, kChannels = 3, kPlane = kSide * kSide;

std::filesystem::path reference_of(const InferenceRuntime& runtime) {
  return source_folder() / "agent" / ("reference_network." + std::string(runtime.format));
}

Launcher strict_launcher() {
  return process_launcher({.program = agent_program(),
                           .silence = std::chrono::seconds(100),
                           .memory_bytes = std::int64_t{1} << 30U,
                           .processor_time = std::chrono::seconds(10)});
}

LaunchRequest request_for(const InferenceRuntime& runtime, const std::filesystem::path& model, int threads = 1) {
  LaunchRequest request;
  request.set_runtime(std::string(runtime.name));
  request.set_model(model.string());
  request.set_provider("cpu");
  request.set_threads(threads);
  request.set_batch(1);
  return request;
}

class Runtime : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!find_library(runtime_, "")) GTEST_SKIP() << runtime_.title << " is not here: " << runtime_.install;
  }

  // Planes of pixels in, logits out.
  std::vector<float> logits(const InferenceRuntime& runtime, std::span<const float> image, int threads = 1) const {
    std::vector<float> input(image.begin(), image.end());
    const bool channels_last = runtime.format == "tflite";
    for (std::size_t i = 0; channels_last && i < input.size(); ++i) {
      input[i % kPlane * kChannels + i / kPlane] = image[i];
    }
    std::string bytes(input.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), input.data(), bytes.size());
    LaunchRequest request = request_for(runtime, reference_of(runtime), threads);
    request.mutable_infer()->set_input(folder_.write("in.bin", bytes).string());
    request.mutable_infer()->set_output((folder_.path() / "out.bin").string());
    for (const std::size_t extent : channels_last ? std::array{std::size_t{1}, kSide, kSide, kChannels}
                                                  : std::array{std::size_t{1}, kChannels, kSide, kSide}) {
      request.mutable_infer()->add_shape(static_cast<std::int64_t>(extent));
    }
    const auto event = strict_launcher()(request, {}, {});
    if (!event) {
      ADD_FAILURE() << event.error().message;
      return {};
    }
    EXPECT_THAT(event->infer().shape(), ElementsAre(1, 10));
    const std::string written = read_whole(folder_.path() / "out.bin");
    std::vector<float> values(written.size() / sizeof(float));
    std::memcpy(values.data(), written.data(), written.size());
    return values;
  }

  std::expected<MeasureOutcome, Error> measure_bytes(const std::string& bytes) const {
    protocol::Deploy deploy;
    deploy.set_runtime(std::string(runtime_.name));
    deploy.set_provider("cpu");
    deploy.set_threads(1);
    deploy.set_batch(1);
    return measure(folder_.write("hostile", bytes), deploy, *find_tier("quick"),
                   {.launcher = strict_launcher(), .files = SystemFiles(folder_.path())}, {});
  }

  const InferenceRuntime& runtime_ = *find_runtime(GetParam());
  TemporaryFolder folder_;
};

TEST_P(Runtime, GivesTheNumbersOfOnnxRuntime) {
  std::mt19937 random(7);
  std::vector<float> image(kChannels * kPlane);
  for (float& pixel : image) pixel = static_cast<float>(random() >> 8U) * 0x1p-24F;
  const std::vector<float> expected = logits(inference_runtimes().front(), image);
  ASSERT_THAT(expected, SizeIs(10));
  EXPECT_THAT(logits(runtime_, image), Pointwise(FloatNear(1e-4F), expected));
  EXPECT_THAT(logits(runtime_, image, 2), Pointwise(FloatNear(1e-4F), expected)) << "with two threads";
}

TEST_P(Runtime, IsMeasuredBesideItsReferenceNetwork) {
  LaunchRequest request = request_for(runtime_, reference_of(runtime_));
  LatencyTask& task = *request.mutable_latency();
  task.set_rounds(3);
  task.set_candidate_block_seconds(0.02);
  task.set_reference_block_seconds(0.02);
  task.set_candidate_block_queries(30);
  task.set_warm_up_minimum_seconds(0.05);
  task.set_warm_up_cap_seconds(0.1);
  task.set_warm_up_agreement(0.5);
  const auto event = strict_launcher()(request, {}, {});
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_THAT(event->latency().candidate_median_ms(), SizeIs(3));
  EXPECT_THAT(event->latency().signature(), SizeIs(10));
  EXPECT_TRUE(event->latency().outputs_finite());
}

TEST_P(Runtime, TellsItsVersion) {
  const auto listed = list_runtimes({}, strict_launcher());
  const auto entry = std::ranges::find(listed, &runtime_, &ListedRuntime::runtime);
  ASSERT_NE(entry, listed.end());
  EXPECT_EQ(entry->problem, "");
  EXPECT_THAT(entry->version, AnyOf(testing::MatchesRegex("[0-9]+\\.[0-9]+.*"), HasSubstr("sha256:")));
  EXPECT_THAT(entry->providers, testing::Contains("cpu"));
}

TEST_P(Runtime, RefusesWhatIsNotAWholeModel) {
  const std::string whole = read_whole(reference_of(runtime_));
  for (const std::size_t size : {std::size_t{12}, std::size_t{100}, whole.size() / 2, whole.size() - 100}) {
    const auto outcome = measure_bytes(whole.substr(0, size));
    if (outcome) {
      EXPECT_EQ(outcome->measurement.verdict(), "INVALID") << size << " bytes";
    } else {
      EXPECT_THAT(outcome.error().message, AnyOf(HasSubstr("cannot be loaded"), HasSubstr("does not run"))) << size;
      EXPECT_FALSE(outcome.error().retryable);
    }
  }
}

// Whatever comes of them, the agent hears of it: numbers, a refusal, or the end of the process as a verdict.
TEST_P(Runtime, SurvivesDamagedModels) {
  const std::string whole = read_whole(reference_of(runtime_));
  std::mt19937 random(1859);
  for (int i = 0; i < 12; ++i) {
    std::string damaged = whole;
    // Among the operators and shapes rather than in the weights: these lie at the ends of the files.
    for (int j = 0; j < 8; ++j) {
      const std::size_t distance = 8 + random() % 1500;
      damaged[j % 2 == 0 ? distance : damaged.size() - distance] = static_cast<char>(random());
    }
    LaunchRequest request = request_for(runtime_, folder_.write("damaged", damaged));
    request.mutable_memory()->set_runs(2);
    const auto event = strict_launcher()(request, {}, {});
    EXPECT_TRUE(event || event.error().model_failed || event.error().bad_input) << event.error().message;
  }
}

TEST_P(Runtime, NamesTheRuntimeForAModelOfAnotherFormat) {
  const bool reads_onnx = runtime_.format == "onnx";
  LaunchRequest request = request_for(runtime_, reference_of(*find_runtime(reads_onnx ? "litert" : "onnxruntime")));
  request.mutable_memory()->set_runs(1);
  const auto event = strict_launcher()(request, {}, {});
  ASSERT_FALSE(event);
  EXPECT_TRUE(event.error().bad_input);
  EXPECT_THAT(event.error().message, HasSubstr(reads_onnx ? "run it with litert" : "run it with onnxruntime"));
}

TEST_P(Runtime, RefusesAProviderThatItDoesNotHave) {
  LaunchRequest request = request_for(runtime_, reference_of(runtime_));
  request.set_provider("abacus");
  request.mutable_memory()->set_runs(1);
  const auto event = strict_launcher()(request, {}, {});
  ASSERT_FALSE(event);
  EXPECT_THAT(event.error().message, HasSubstr("'abacus'"));
}

INSTANTIATE_TEST_SUITE_P(All, Runtime, testing::Values("onnxruntime", "openvino", "litert"),
                         [](const auto& test) { return test.param; });

TEST(FindLibrary, TakesTheFirstFolderThatHasIt) {
  const InferenceRuntime& onnxruntime = *find_runtime("onnxruntime");
  const TemporaryFolder folder;
  folder.write("a/other.so", "");
  folder.write("b/libonnxruntime.so.1.21", "");
  folder.write("b/libonnxruntime.so.1.22", "");
  folder.write("c/libonnxruntime.so", "");
  const std::vector<std::filesystem::path> folders{folder.path() / "a", folder.path() / "b", folder.path() / "c"};
  EXPECT_EQ(find_library(onnxruntime, "", folders), folder.path() / "b" / "libonnxruntime.so.1.22");
  EXPECT_EQ(find_library(onnxruntime, (folder.path() / "c").string(), folders),
            folder.path() / "c" / "libonnxruntime.so");
  const auto none = find_library(onnxruntime, "", {folder.path() / "a"});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, AllOf(HasSubstr((folder.path() / "a").string()), HasSubstr("--onnxruntime"),
                                          HasSubstr("scripts/install-runtime onnxruntime")));
  EXPECT_FALSE(find_library(onnxruntime, (folder.path() / "a").string(), folders));
}

TEST(FindLibrary, LooksWhereInstallRuntimePutsIt) {
  const TemporaryFolder home;
  const auto file = home.write("runtimes/litert/libLiteRt.so", "");
  setenv("FINCH_HOME", home.path().c_str(), 1);
  EXPECT_EQ(find_library(*find_runtime("litert"), ""), file);
  EXPECT_EQ(library_of(with_found_libraries({{"openvino", "/opt/ov"}}), "litert"), file.string());
  EXPECT_EQ(library_of(with_found_libraries({{"openvino", "/opt/ov"}}), "openvino"), "/opt/ov");
  unsetenv("FINCH_HOME");
}

TEST(VersionBeside, IsWhatWasInstalledElseAHash) {
  const TemporaryFolder folder;
  const auto file = folder.write("libLiteRt.so", "library");
  EXPECT_EQ(version_beside(file), "sha256:b718f1354f72");
  folder.write("VERSION", "2.3.0 amd64 0123\n");
  EXPECT_EQ(version_beside(file), "2.3.0");
}

TEST(ModelFormat, IsToldByTheFile) {
  EXPECT_EQ(protocol::model_format(source_folder() / "agent/reference_network.onnx"), "onnx");
  EXPECT_EQ(protocol::model_format(source_folder() / "agent/reference_network.tflite"), "tflite");
  EXPECT_EQ(protocol::model_format("/nowhere"), "onnx");
  EXPECT_EQ(protocol::usual_runtime("tflite"), "litert");
}

TEST(RuntimeList, SaysHowToGetWhatIsNotThere) {
  const auto listed = list_runtimes({{"openvino", "/nowhere"}, {"litert", "/nowhere"}}, strict_launcher());
  ASSERT_THAT(listed, SizeIs(3));
  EXPECT_THAT(runtimes_text(listed), HasSubstr("litert       not here; install it: scripts/install-runtime litert\n"));
  EXPECT_THAT(runtimes_json(listed),
              HasSubstr(R"({"name": "litert", "found": false, "library": null, "version": null)"));
}

}  // namespace
}  // namespace finch::agent
