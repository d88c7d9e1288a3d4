#include "agent/agent_jobs.hpp"

#include <gmock/gmock.h>

#include <gtest/gtest.h>
#include <cstring>
#include <span>

#include "protocol/artifact_store.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeContext : public protocol::JobContext {
 public:
  void progress(double fraction, const std::string&) override { fractions.push_back(fraction); }
  std::stop_token stop_token() const override { return stop.get_token(); }
  const std::map<std::string, std::filesystem::path>& artifacts() const override { return files; }
  const std::filesystem::path& output_folder() const override { return folder.path(); }

  // Takes a file in as an artifact.
  protocol::ArtifactRef add(const std::filesystem::path& file) {
    protocol::ArtifactRef artifact;
    artifact.set_sha256(*protocol::sha256_of_file(file));
    artifact.set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(file)));
    files[artifact.sha256()] = file;
    return artifact;
  }

  TemporaryFolder folder;
  std::map<std::string, std::filesystem::path> files;
  std::vector<double> fractions;
  std::stop_source stop;
};

class AgentJobsTest : public testing::Test {
 protected:
  AgentJobs jobs_{{.name = "bench", .profile = "local", .launcher = process_launcher({.program = agent_program()})}};
  FakeContext context_;
  TemporaryFolder inputs_;

  static protocol::Deploy deploy(int batch = 1) {
    protocol::Deploy deploy;
    deploy.set_runtime("onnxruntime");
    deploy.set_provider("cpu");
    deploy.set_precision("fp32");
    deploy.set_threads(1);
    deploy.set_batch(batch);
    return deploy;
  }

  protocol::JobResult measure(const std::filesystem::path& model, const std::string& tier) {
    protocol::Job job;
    *job.mutable_measure()->mutable_model() = context_.add(model);
    *job.mutable_measure()->mutable_deploy() = deploy();
    job.mutable_measure()->set_tier(tier);
    return jobs_.run(job, context_);
  }

  // Images of 2x2 with one bright pixel each; the label of the last `wrong` ones is another.
  std::filesystem::path write_images(int count, int wrong) {
    protocol::ImageSet set;
    set.set_channels(1);
    set.set_height(2);
    set.set_width(2);
    for (int i = 0; i < count; ++i) {
      std::string pixels(4, '\x10');
      pixels[static_cast<std::size_t>(i % 4)] = '\xfe';
      set.mutable_pixels()->append(pixels);
      set.add_labels(i < count - wrong ? i % 4 : (i + 1) % 4);
    }
    return inputs_.write("images", set.SerializeAsString());
  }

  protocol::JobResult evaluate(const std::string& model, const std::filesystem::path& images, int batch) {
    protocol::Job job;
    *job.mutable_evaluate()->mutable_model() = context_.add(test_model(model));
    *job.mutable_evaluate()->mutable_test_set() = context_.add(images);
    *job.mutable_evaluate()->mutable_deploy() = deploy(batch);
    job.mutable_evaluate()->set_logits_of_first(2);
    return jobs_.run(job, context_);
  }
};

TEST_F(AgentJobsTest, SaysWhoItIs) {
  const protocol::Hello hello = jobs_.hello();
  EXPECT_EQ(hello.role(), protocol::AGENT);
  EXPECT_FALSE(hello.host().empty());
  EXPECT_EQ(hello.device().name(), "bench");
  EXPECT_EQ(hello.device().profile(), "local");
  EXPECT_THAT(hello.device().measures(), ElementsAre("latency", "memory"));
  EXPECT_EQ(hello.device().state_hash().size(), 64U);
}

TEST_F(AgentJobsTest, MeasuresASmallModel) {
  const protocol::JobResult result = measure(reference_model(), "quick");
  ASSERT_TRUE(result.has_measurement()) << result.failure().message();
  const protocol::Measurement& m = result.measurement();
  EXPECT_EQ(m.device(), "bench");
  EXPECT_EQ(m.profile(), "local");
  EXPECT_EQ(m.tier(), "quick");
  EXPECT_EQ(m.runtime().name(), "onnxruntime");
  EXPECT_EQ(m.deploy().precision(), "fp32");
  EXPECT_THAT(m.verdict(), testing::AnyOf("VALID", "DEGRADED"));
  EXPECT_EQ(m.verdict() == "DEGRADED", !m.reasons().empty());
  EXPECT_GT(m.latency_ci_low_ms(), 0);
  EXPECT_LE(m.latency_ci_low_ms(), m.latency_median_ms());
  EXPECT_LE(m.latency_median_ms(), m.latency_ci_high_ms());
  EXPECT_LE(m.latency_median_ms(), m.latency_p90_ms());
  EXPECT_GT(m.runs(), 12);
  // The model is the reference network itself.
  EXPECT_GT(m.reference_ratio_median(), 0.5);
  EXPECT_LT(m.reference_ratio_median(), 2.0);
  EXPECT_GT(m.load_peak_bytes(), 0);
  EXPECT_GT(m.run_peak_bytes(), 0);
  EXPECT_FALSE(m.has_energy_gross_mj());
  EXPECT_EQ(m.device_state_hash(), jobs_.device().runtimes(0).state_hash());
  EXPECT_EQ(m.artifact_sha256(), *protocol::sha256_of_file(reference_model()));
  EXPECT_EQ(m.raw().size_bytes(), m.runs() * 8);
  const std::string raw = read_whole(context_.output_folder() / m.raw().sha256());
  EXPECT_EQ(static_cast<std::int64_t>(raw.size()), m.raw().size_bytes());
  EXPECT_EQ(protocol::sha256_hex(raw), m.raw().sha256());
  EXPECT_TRUE(std::ranges::is_sorted(context_.fractions));
}

TEST_F(AgentJobsTest, EvaluatesTheExactFile) {
  const std::filesystem::path images = write_images(10, 3);
  for (const auto& [model, batch] : std::vector<std::pair<std::string, int>>{
           {"brightest", 1}, {"brightest", 4}, {"brightest", 64}, {"brightest_batch3", 3}}) {
    const protocol::JobResult result = evaluate(model, images, batch);
    ASSERT_TRUE(result.has_evaluation()) << result.failure().message();
    EXPECT_EQ(result.evaluation().samples(), 10) << model << " " << batch;
    EXPECT_DOUBLE_EQ(result.evaluation().top1(), 0.7) << model << " " << batch;
    ASSERT_EQ(result.evaluation().logits_size(), 2 * 4) << model << " " << batch;
    const auto* logits = result.evaluation().logits().data();
    EXPECT_EQ(std::max_element(logits, logits + 4) - logits, 0);
    EXPECT_EQ(std::max_element(logits + 4, logits + 8) - (logits + 4), 1);
    EXPECT_THAT(result.evaluation().predictions(), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
  }
}

TEST_F(AgentJobsTest, GivesAModelsAnswersToImagesAndToTheirMirrorImages) {
  const std::filesystem::path images = write_images(10, 0);
  for (const auto& [model, batch] :
       std::vector<std::pair<std::string, int>>{{"brightest", 1}, {"brightest", 4}, {"brightest_batch3", 64}}) {
    protocol::Job job;
    protocol::ComputeLogits& compute = *job.mutable_compute_logits();
    *compute.mutable_model() = context_.add(test_model(model));
    *compute.mutable_images() = context_.add(images);
    *compute.mutable_deploy() = deploy(batch);
    compute.set_mirrored(true);
    const protocol::JobResult result = jobs_.run(job, context_);
    ASSERT_TRUE(result.has_computed_logits()) << result.failure().message();
    EXPECT_EQ(result.computed_logits().classes(), 4);
    const std::string bytes = read_whole(context_.output_folder() / result.computed_logits().logits().sha256());
    EXPECT_EQ(protocol::sha256_hex(bytes), result.computed_logits().logits().sha256());
    ASSERT_EQ(bytes.size(), 2 * 10 * 4 * sizeof(float));
    std::vector<float> logits(2 * 10 * 4);
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    for (int i = 0; i < 20; ++i) {
      const auto row = std::span(logits).subspan(static_cast<std::size_t>(4 * i), 4);
      const auto brightest = std::ranges::max_element(row) - row.begin();
      const int pixel = i % 10 % 4;
      EXPECT_EQ(brightest, i < 10 ? pixel : pixel ^ 1) << model << ": in rows of two, the mirror image's is beside it";
    }
  }
}

TEST_F(AgentJobsTest, EvaluationExplainsWhatDoesNotFit) {
  protocol::ImageSet set;
  set.set_channels(3);
  set.set_height(1);
  set.set_width(1);
  set.set_pixels("abc");
  set.add_labels(0);
  auto result = evaluate("brightest", inputs_.write("other", set.SerializeAsString()), 1);
  EXPECT_THAT(result.failure().message(), HasSubstr("images are 3x1x1, the model takes 1x1x2x2"));
  set.set_pixels("ab");
  result = evaluate("brightest", inputs_.write("short", set.SerializeAsString()), 1);
  EXPECT_THAT(result.failure().message(), HasSubstr("2 bytes of pixels"));
  EXPECT_FALSE(result.failure().retryable());
}

TEST_F(AgentJobsTest, ADamagedModelIsNamedAndNotTriedAgain) {
  const auto result = measure(inputs_.write("bad.onnx", "not a model"), "quick");
  ASSERT_TRUE(result.has_failure());
  EXPECT_THAT(result.failure().message(), HasSubstr("bad.onnx cannot be loaded"));
  EXPECT_FALSE(result.failure().retryable());
}

TEST_F(AgentJobsTest, AFileThatIsNotItsHashIsNotMeasured) {
  const std::filesystem::path model = inputs_.write("model.onnx", read_whole(reference_model()));
  protocol::Job job;
  *job.mutable_measure()->mutable_model() = context_.add(model);
  *job.mutable_measure()->mutable_deploy() = deploy();
  job.mutable_measure()->set_tier("quick");
  inputs_.write("model.onnx", "changed");
  EXPECT_THAT(jobs_.run(job, context_).failure().message(), HasSubstr("is damaged"));
}

TEST_F(AgentJobsTest, AJobForAnEarlierStateIsRefusedWithWhatTheDeviceIsNow) {
  protocol::Job measuring, testing;
  *measuring.mutable_measure()->mutable_model() = context_.add(reference_model());
  *measuring.mutable_measure()->mutable_deploy() = deploy();
  measuring.mutable_measure()->set_tier("quick");
  measuring.mutable_measure()->set_state_hash("another");
  *testing.mutable_evaluate()->mutable_deploy() = deploy();
  testing.mutable_evaluate()->set_state_hash("another");
  for (const protocol::Job& job : {measuring, testing}) {
    const auto result = jobs_.run(job, context_);
    ASSERT_TRUE(result.has_failure());
    EXPECT_FALSE(result.failure().retryable());
    EXPECT_EQ(result.device().runtimes(0).state_hash(), jobs_.device().runtimes(0).state_hash());
  }
}

TEST_F(AgentJobsTest, TakesTheParametersOfTheJob) {
  protocol::Job job;
  *job.mutable_measure()->mutable_model() = context_.add(reference_model());
  *job.mutable_measure()->mutable_deploy() = deploy();
  job.mutable_measure()->set_tier("quick");
  for (const int launches : {3, 4}) job.mutable_measure()->mutable_parameters()->add_launches(launches);
  job.mutable_measure()->mutable_parameters()->set_half_width(1e-9);  // never reached: the last look decides
  job.mutable_measure()->mutable_parameters()->set_rounds(2);
  job.mutable_measure()->mutable_parameters()->set_block_seconds(0.001);
  job.mutable_measure()->mutable_parameters()->set_block_queries(7);
  const auto result = jobs_.run(job, context_);
  ASSERT_TRUE(result.has_measurement()) << result.failure().message();
  EXPECT_GE(result.measurement().runs(), 4 * 2 * 7);
  job.mutable_measure()->mutable_parameters()->set_rounds(0);
  EXPECT_THAT(jobs_.run(job, context_).failure().message(), HasSubstr("1 or more"));
}

// In the measuring process's place: everything takes `ms`, or crashes when that is 0.
Launcher takes(const double& ms) {
  return [&ms](const LaunchRequest& request, const std::function<void(double)>&,
               const std::stop_token&) -> std::expected<LaunchEvent, Error> {
    LaunchEvent event;
    if (request.has_probe()) event.mutable_probe()->set_version("1.21.0");
    if (request.has_memory() && ms == 0) return std::unexpected(Error{.message = "it crashed", .model_failed = true});
    if (request.has_memory()) event.mutable_memory()->set_run_peak_bytes(1 << 20);
    if (!request.has_latency()) return event;
    LatencyResult& result = *event.mutable_latency();
    for (int round = 0; round < request.latency().rounds(); ++round) {
      result.add_candidate_ms(ms);
      result.add_candidate_median_ms(ms);
      result.add_reference_median_ms(ms);
    }
    result.set_warm_up_settled(true);
    result.set_outputs_finite(true);
    return event;
  };
}

TEST(Calibrating, KeepsABaselineAndSaysWhatIsOffIt) {
  double ms = 2;
  TemporaryFolder root, state;
  root.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
  root.write("sys/class/thermal/thermal_zone0/temp", "41500\n");
  AgentJobs jobs({.name = "board",
                  .profile = "local",
                  .files = SystemFiles(root.path()),
                  .launcher = takes(ms),
                  .state_folder = state.path()});
  FakeContext context;
  const auto calibrate = [&](double now) {
    ms = now;
    protocol::Job job;
    job.mutable_calibrate()->set_runtime("onnxruntime");
    job.mutable_calibrate()->set_tier("quick");
    return jobs.run(job, context);
  };
  const auto first = calibrate(2);
  ASSERT_TRUE(first.has_calibration()) << first.failure().message();
  EXPECT_EQ(first.calibration().verdict(), "VALID");
  EXPECT_EQ(first.calibration().celsius(), 41.5);
  EXPECT_FALSE(first.calibration().drifted());
  EXPECT_EQ(first.device().runtimes(0).baseline_ms(), 2) << "the controller hears of it";
  const std::string hash = jobs.device().runtimes(0).state_hash();
  EXPECT_FALSE(calibrate(2.03).calibration().drifted());
  EXPECT_TRUE(calibrate(2.1).calibration().drifted());
  const auto crashed = calibrate(0);
  EXPECT_EQ(crashed.calibration().verdict(), "INVALID");
  EXPECT_EQ(crashed.calibration().before_ms(), 2.1);
  EXPECT_FALSE(crashed.calibration().drifted()) << "there is no figure";
  EXPECT_EQ(jobs.device().runtimes(0).baseline_ms(), 2.1);
  EXPECT_EQ(jobs.device().runtimes(0).state_hash(), hash) << "a baseline is no part of the state";
}

TEST_F(AgentJobsTest, CancellingEndsTheMeasurement) {
  context_.stop.request_stop();
  const auto result = measure(reference_model(), "certify");
  ASSERT_TRUE(result.has_failure());
  EXPECT_TRUE(result.failure().retryable());
}

TEST_F(AgentJobsTest, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(measure(reference_model(), "fast").failure().message(), HasSubstr("no tier 'fast'"));
  protocol::Job job;
  job.mutable_train_candidate();
  EXPECT_THAT(jobs_.run(job, context_).failure().message(), HasSubstr("for a trainer"));
}

}  // namespace
}  // namespace finch::agent
