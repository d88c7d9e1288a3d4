// Providers of ONNX Runtime with the library that is here: one that is absent, or that leaves nodes to the CPU, is
// told.
#include "agent/onnxruntime_providers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/inference_runtime.hpp"
#include "agent/measure.hpp"
#include "agent/runtime_list.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

Launcher launcher() {
  return process_launcher({.program = agent_program()});
}

std::expected<MeasureOutcome, Error> measure_with(const std::string& provider, const std::filesystem::path& model) {
  protocol::Deploy deploy;
  deploy.set_runtime("onnxruntime");
  deploy.set_provider(provider);
  deploy.set_threads(1);
  deploy.set_batch(1);
  return measure(model, deploy, *find_tier("quick"), {.launcher = launcher()}, {});
}

bool is_offered(const std::string& provider) {
  const auto listed = list_runtimes({}, launcher());
  return std::ranges::contains(listed.front().providers, provider);
}

class OptionalProvider : public testing::TestWithParam<const char*> {};

// Debian's ONNX Runtime 1.21 dies in its XNNPACK provider, whatever the model: that is a verdict, and is told.
TEST_P(OptionalProvider, MeasuresOrSaysWhyNot) {
  const std::string provider = GetParam();
  if (!is_offered(provider)) GTEST_SKIP() << "this ONNX Runtime has no provider " << provider;
  const auto outcome = measure_with(provider, reference_model());
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->measurement.deploy().provider(), provider);
  if (outcome->measurement.latency_median_ms() == 0) {
    EXPECT_EQ(outcome->measurement.verdict(), "INVALID");
    EXPECT_THAT(
        outcome->measurement.reasons(),
        ElementsAre(HasSubstr("killed by signal"), AllOf(HasSubstr("with provider " + provider + " of onnxruntime"),
                                                         HasSubstr("provider cpu"), HasSubstr("--onnxruntime PATH"))));
  }
}

INSTANTIATE_TEST_SUITE_P(All, OptionalProvider, testing::Values("xnnpack", "dnnl", "openvino"),
                         [](const auto& test) { return test.param; });

TEST(Provider, ThatLeavesNodesToTheCpuIsReported) {
  if (!is_offered("dnnl")) GTEST_SKIP() << "this ONNX Runtime has no provider dnnl";
  LaunchRequest request;
  request.set_model(reference_model().string());
  request.set_provider("dnnl");
  request.set_threads(1);
  request.set_batch(1);
  request.mutable_latency()->set_rounds(1);
  request.mutable_latency()->set_candidate_block_seconds(0.01);
  request.mutable_latency()->set_reference_block_seconds(0.01);
  request.mutable_latency()->set_warm_up_cap_seconds(0.01);
  const auto event = launcher()(request, {}, {});
  ASSERT_TRUE(event) << event.error().message;
  ASSERT_THAT(event->latency().placements(), SizeIs(2));
  for (const Placement& placed : event->latency().placements()) {
    EXPECT_GE(placed.nodes(), 1);
    if (placed.provider() == "cpu") {
      EXPECT_THAT(placed.operators(), Contains("Flatten"));
    }
  }
}

TEST(Provider, ThatIsNotThereIsNamedWithThoseThatAre) {
  if (is_offered("tensorrt")) GTEST_SKIP() << "this ONNX Runtime has TensorRT";
  const auto outcome = measure_with("tensorrt", reference_model());
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().message,
              AllOf(HasSubstr("provider 'tensorrt' is not in this build of ONNX Runtime, which offers cpu"),
                    HasSubstr("--onnxruntime PATH")));
}

TEST(Provider, OfTheCpuNeedsNoWords) {
  const auto outcome = measure_with("cpu", reference_model());
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(outcome->measurement.reasons(), testing::Not(Contains(HasSubstr("nodes run on"))));
}

TEST(PlacementLog, HearsWhichNodeWentWhere) {
  PlacementLog log;
  log.hear("Creating and using per session threadpools");
  log.hear("  not a node");
  log.hear(" Node(s) placed on [XnnpackExecutionProvider]. Number of nodes: 5");
  log.hear("  Conv (stem)");
  log.hear("  Conv (block)");
  log.hear("  MaxPool (pool)");
  log.hear(" Node(s) placed on [CPUExecutionProvider]. Number of nodes: 1");
  log.hear("  Softmax ()");
  const auto heard = log.take();
  ASSERT_THAT(heard, SizeIs(2));
  EXPECT_EQ(heard[0].provider, "xnnpack");
  EXPECT_EQ(heard[0].nodes, 5);
  EXPECT_THAT(heard[0].operators, ElementsAre("Conv", "MaxPool"));
  EXPECT_EQ(heard[1].provider, "cpu");
  EXPECT_THAT(heard[1].operators, ElementsAre("Softmax"));
  EXPECT_THAT(log.take(), SizeIs(0));
  log.hear(" All nodes placed on [CPUExecutionProvider]. Number of nodes: 12");
  EXPECT_EQ(log.take().front().nodes, 12);
}

TEST(TensorRt, TellsItsVersion) {
  EXPECT_EQ(tensorrt_name(8601), "TensorRT 8.6.1");
  EXPECT_EQ(tensorrt_name(100300), "TensorRT 10.3.0");
  EXPECT_EQ(tensorrt_name(101502), "TensorRT 10.15.2");
  EXPECT_EQ(tensorrt_of(agent_program().parent_path() / "tensorrt" / "libonnxruntime.so"), "TensorRT 10.3.0");
  EXPECT_EQ(tensorrt_of(agent_program()), "") << "none is beside it";
}

TEST(ProviderName, IsFinchs) {
  EXPECT_EQ(provider_name("DnnlExecutionProvider"), "dnnl");
  EXPECT_EQ(provider_name("AzureExecutionProvider"), std::nullopt);
}

}  // namespace
}  // namespace finch::agent
