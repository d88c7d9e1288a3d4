// The phase that compiles models ahead: with processes that are only said to run, and with OpenVINO where it is here.
#include "agent/engine_build.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/inotify.h>
#include <unistd.h>

#include <array>

#include "agent/agent_jobs.hpp"
#include "agent/child_process.hpp"
#include "agent/evaluate.hpp"
#include "agent/measure.hpp"
#include "agent/measurement_json.hpp"
#include "protocol/artifact_store.hpp"
#include "tests/agent/onnx_bytes.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

protocol::Deploy deploy_with(const std::string& runtime, const std::string& provider) {
  protocol::Deploy deploy;
  deploy.set_runtime(runtime);
  deploy.set_provider(provider);
  deploy.set_threads(1);
  deploy.set_batch(1);
  return deploy;
}

TEST(EnginesOn, SaysWhatAnEngineDependsOn) {
  const protocol::Deploy tensorrt = deploy_with("onnxruntime", "tensorrt");
  protocol::DeviceDescription device;
  device.set_cpu_model("NVIDIA Jetson Orin Nano (Cortex-A78AE)");
  device.set_power_mode("15W");
  auto& runtime = *device.add_runtimes();
  runtime.set_name("onnxruntime");
  runtime.set_version("1.22.0");
  runtime.set_engine_builder("TensorRT 10.3.0");
  const EngineSettings settings = engines_on(device, tensorrt, "/state");
  EXPECT_EQ(settings.folder, "/state/engines");
  EXPECT_EQ(settings.builder, "TensorRT 10.3.0");
  EXPECT_EQ(settings.runtime_version, "1.22.0");
  EXPECT_EQ(settings.processor, "NVIDIA Jetson Orin Nano (Cortex-A78AE)");
  EXPECT_EQ(settings.power_mode, "15W");
  device.set_gpu("NVIDIA L4 (driver 570.86.15)");
  EXPECT_EQ(engines_on(device, tensorrt, "/state").processor, "NVIDIA L4 (driver 570.86.15)");
  EXPECT_EQ(engines_on(device, tensorrt, "").folder, "") << "without a state folder none is kept";
  EXPECT_EQ(engines_on(device, deploy_with("onnxruntime", "cpu"), "/state").folder, "");
  EXPECT_EQ(engines_on(device, deploy_with("openvino", "cpu"), "/state").folder, "");
}

// In the measuring process's place: it writes what a TensorRT would.
class ScriptedBuilds : public testing::Test {
 protected:
  std::expected<MeasureOutcome, Error> run(const fs::path& rival = {}, std::stop_token stop = {}) {
    requests_.clear();
    return measure(model_, deploy_with("onnxruntime", "tensorrt"), *find_tier("quick"),
                   {.launcher = launcher(),
                    .files = SystemFiles(folder_.path()),
                    .engines = engines_,
                    .rival = rival,
                    .on_progress = [this](double, const std::string& what) { steps_.push_back(what); }},
                   stop);
  }
  Launcher launcher() {
    return [this](const LaunchRequest& request, const auto&,
                  const std::stop_token& stop) -> std::expected<LaunchEvent, Error> {
      requests_.push_back(request);
      LaunchEvent event;
      if (request.has_build_engine()) {
        std::ofstream(fs::path(request.engine_folder()) / "half") << "an eng";
        EXPECT_TRUE(fs::is_directory(request.build_engine().timing_folder()));
        if (crashes_) return std::unexpected(Error{.message = "it crashed", .model_failed = true});
        if (stop.stop_requested()) return std::unexpected(Error{"stopped", true});
        std::ofstream(fs::path(request.engine_folder()) / "engine") << read_whole(request.model());
        event.mutable_engine()->set_seconds(12.5);
      }
      if (request.has_memory()) event.mutable_memory()->set_run_peak_bytes(1 << 20);
      if (!request.has_latency()) return event;
      for (int round = 0; round < request.latency().rounds(); ++round) {
        event.mutable_latency()->add_candidate_ms(2);
        event.mutable_latency()->add_candidate_median_ms(2);
        event.mutable_latency()->add_reference_median_ms(1);
      }
      event.mutable_latency()->set_warm_up_settled(true);
      event.mutable_latency()->set_outputs_finite(true);
      return event;
    };
  }
  long builds() const { return std::ranges::count_if(requests_, &LaunchRequest::has_build_engine); }

  TemporaryFolder folder_;
  fs::path model_ = folder_.write("model.onnx", "a model");
  EngineSettings engines_{.folder = folder_.path() / "engines",
                          .runtime_version = "1.22.0",
                          .builder = "TensorRT 10.3.0",
                          .processor = "Orin",
                          .power_mode = "MAXN"};
  std::vector<LaunchRequest> requests_;
  std::vector<std::string> steps_;
  bool crashes_ = false;
};

TEST_F(ScriptedBuilds, ComeFirstAndOnce) {
  const auto first = run();
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(requests_.front().has_build_engine());
  EXPECT_EQ(builds(), 1);
  EXPECT_EQ(steps_.front(), "building the engine");
  for (std::size_t i = 1; i < requests_.size(); ++i) {
    EXPECT_EQ(read_whole(fs::path(requests_[i].engine_folder()) / "engine"), "a model") << i;
  }
  EXPECT_EQ(first->measurement.engine_build_seconds(), 12.5);
  EXPECT_THAT(first->measurement.reasons(), Contains("building the engine took 12.5 s before this; it is kept"));
  EXPECT_THAT(measurement_json(first->measurement, ""), HasSubstr(R"("engine_build_seconds": 12.5)"));

  const auto second = run();
  ASSERT_TRUE(second);
  EXPECT_EQ(builds(), 0);
  EXPECT_EQ(second->measurement.engine_build_seconds(), 0);
  EXPECT_THAT(second->measurement.reasons(), Not(Contains(HasSubstr("engine"))));
  EXPECT_THAT(measurement_json(second->measurement, ""), Not(HasSubstr("engine")));
  EXPECT_NE(requests_.front().engine_folder(), "");
}

TEST_F(ScriptedBuilds, HappenAnewForAnythingThatChanged) {
  ASSERT_TRUE(run());
  for (std::string EngineSettings::* part : {&EngineSettings::runtime_version, &EngineSettings::builder,
                                             &EngineSettings::processor, &EngineSettings::power_mode}) {
    engines_.*part += "'";
    ASSERT_TRUE(run());
    EXPECT_EQ(builds(), 1) << engines_.*part;
  }
  std::ofstream(model_) << "another model";
  ASSERT_TRUE(run());
  EXPECT_EQ(builds(), 1);
  ASSERT_TRUE(run());
  EXPECT_EQ(builds(), 0);
}

TEST_F(ScriptedBuilds, HappenAnewForOtherWeightsBesideTheModel) {
  const std::string elsewhere = onnx_bytes::bytes(1, "location") + onnx_bytes::bytes(2, "weights.bin");
  std::ofstream(model_) << onnx_bytes::bytes(13, elsewhere);
  folder_.write("weights.bin", "1234");
  ASSERT_TRUE(run());
  ASSERT_TRUE(run());
  EXPECT_EQ(builds(), 0);
  folder_.write("weights.bin", "5678");
  ASSERT_TRUE(run());
  EXPECT_EQ(builds(), 1);
}

TEST_F(ScriptedBuilds, ARivalHasAnEngineOfItsOwn) {
  ASSERT_TRUE(run(folder_.write("rival.onnx", "a rival")));
  EXPECT_EQ(builds(), 2);
  const LaunchRequest& latency = requests_.back();
  EXPECT_EQ(read_whole(fs::path(latency.engine_folder()) / "engine"), "a model");
  EXPECT_EQ(read_whole(fs::path(latency.latency().rival_engine_folder()) / "engine"), "a rival");
}

TEST_F(ScriptedBuilds, ThatFailAreAVerdictAndLeaveNoTimings) {
  crashes_ = true;
  const auto outcome = run();
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->measurement.verdict(), "INVALID");
  EXPECT_THAT(outcome->measurement.reasons(), Contains("it crashed"));
  EXPECT_EQ(requests_.size(), 1U);
  EXPECT_TRUE(fs::is_empty(engines_.folder / "timings"));
  crashes_ = false;
  ASSERT_TRUE(run());
  EXPECT_EQ(builds(), 1);
}

TEST_F(ScriptedBuilds, ThatAreStoppedStopTheMeasurement) {
  std::stop_source stop;
  stop.request_stop();
  const auto outcome = run({}, stop.get_token());
  ASSERT_FALSE(outcome);
  EXPECT_TRUE(outcome.error().retryable);
}

TEST_F(ScriptedBuilds, WithoutAFolderEachLaunchIsOnItsOwn) {
  engines_.folder.clear();
  ASSERT_TRUE(run());
  EXPECT_EQ(builds(), 0);
  EXPECT_EQ(requests_.front().engine_folder(), "");
  engines_.folder = folder_.write("a file", "");
  const auto outcome = run();
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(outcome->measurement.reasons(),
              Contains(AllOf(HasSubstr("cannot keep an engine in"), HasSubstr("each launch builds it anew"))));
}

// What a Jetson's agent does.
TEST_F(ScriptedBuilds, OfAnAgentAreForThePowerModeThatTheBoardIsIn) {
  class Context : public protocol::JobContext {
   public:
    void progress(double, const std::string&) override {}
    std::stop_token stop_token() const override { return {}; }
    const std::map<std::string, fs::path>& artifacts() const override { return files; }
    const fs::path& output_folder() const override { return folder.path(); }
    TemporaryFolder folder;
    std::map<std::string, fs::path> files;
  } context;
  const std::string hash = *protocol::sha256_of_file(model_);
  context.files[hash] = model_;
  protocol::Job job;
  job.mutable_measure()->mutable_model()->set_sha256(hash);
  *job.mutable_measure()->mutable_deploy() = deploy_with("onnxruntime", "tensorrt");
  job.mutable_measure()->set_tier("quick");
  const auto set_mode = [this](const std::string& mode) {
    folder_.write("root/var/lib/nvpmodel/status", "pmode:" + mode);
  };
  set_mode("0000");
  AgentJobs jobs({.name = "jetson",
                  .profile = "local",
                  .files = SystemFiles(folder_.path() / "root"),
                  .launcher = launcher(),
                  .state_folder = folder_.path() / "state"});
  const auto builds_for = [&](const protocol::Job& wanted) {
    requests_.clear();
    const auto result = jobs.run(wanted, context);
    EXPECT_TRUE(result.has_measurement()) << result.failure().message();
    return builds();
  };
  EXPECT_EQ(builds_for(job), 1);
  EXPECT_EQ(builds_for(job), 0);
  const std::string state = jobs.device().state_hash();
  set_mode("0002");
  EXPECT_EQ(builds_for(job), 1);
  EXPECT_NE(jobs.device().state_hash(), state) << "another epoch";
  set_mode("0000");
  EXPECT_EQ(builds_for(job), 0) << "that of before is still there";
  EXPECT_EQ(jobs.device().state_hash(), state);
  job.mutable_measure()->mutable_deploy()->set_provider("cpu");
  EXPECT_EQ(builds_for(job), 0);
}

// The real thing: OpenVINO keeps compiled models too.
class OpenVinoEngines : public testing::Test {
 protected:
  void SetUp() override {
    const InferenceRuntime& openvino = *find_runtime("openvino");
    if (!find_library(openvino, "")) GTEST_SKIP() << "OpenVINO is not here: " << openvino.install;
    base_.set_runtime("openvino");
    base_.set_model(reference_model().string());
    base_.set_provider("cpu");
    base_.set_threads(1);
    base_.set_batch(1);
  }
  std::expected<PreparedEngine, Error> prepare() {
    return prepare_engine(base_, engines_, launcher_, [this] { ++builds_; }, {});
  }
  std::vector<double> signature(const std::string& engine_folder) const {
    LaunchRequest request = base_;
    request.set_engine_folder(engine_folder);
    LatencyTask& task = *request.mutable_latency();
    task.set_rounds(1);
    task.set_warm_up_cap_seconds(0.01);
    const auto event = launcher_(request, {}, {});
    if (!event) {
      ADD_FAILURE() << event.error().message;
      return {};
    }
    return {event->latency().signature().begin(), event->latency().signature().end()};
  }
  TemporaryFolder folder_;
  LaunchRequest base_;
  EngineSettings engines_{.folder = folder_.path() / "state" / "engines", .runtime_version = "1", .power_mode = "MAXN"};
  Launcher launcher_ = process_launcher({.program = agent_program()});
  int builds_ = 0;
};

// What is opened below a folder, by whatever process.
class OpenedFiles {
 public:
  explicit OpenedFiles(const fs::path& folder) : events_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    inotify_add_watch(events_.get(), folder.c_str(), IN_OPEN);
  }
  bool any() const {
    std::array<char, 4096> buffer;
    return read(events_.get(), buffer.data(), buffer.size()) > 0;
  }

 private:
  Descriptor events_;
};

TEST_F(OpenVinoEngines, AreReadByTheLaunchesAndGiveTheSameNumbers) {
  const auto prepared = prepare();
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->problem, "");
  EXPECT_GT(prepared->build_seconds, 0);
  ASSERT_FALSE(fs::is_empty(prepared->folder));
  const OpenedFiles opened(prepared->folder);
  EXPECT_FALSE(opened.any());
  const auto with = signature(prepared->folder);
  EXPECT_TRUE(opened.any()) << "the launch did not look at the engine";
  const auto without = signature("");
  ASSERT_EQ(with.size(), 10U);
  for (std::size_t i = 0; i < with.size(); ++i) EXPECT_NEAR(with[i], without[i], 1e-5);

  EXPECT_EQ(prepare()->build_seconds, 0) << "the launch has altered nothing";
  engines_.power_mode = "15W";
  EXPECT_GT(prepare()->build_seconds, 0);
  engines_.runtime_version = "2";
  EXPECT_GT(prepare()->build_seconds, 0);
  EXPECT_EQ(builds_, 3);
}

TEST_F(OpenVinoEngines, ThatAreDamagedAreBuiltAnew) {
  const fs::path folder = prepare()->folder;
  for (const auto& file : fs::directory_iterator(folder)) fs::resize_file(file.path(), file.file_size() / 2);
  EXPECT_GT(prepare()->build_seconds, 0);
  EXPECT_THAT(signature(folder), testing::SizeIs(10));
}

TEST_F(OpenVinoEngines, WhoseBuildIsKilledAreBuiltByTheNext) {
  std::stop_source stop;
  const auto killed = prepare_engine(base_, engines_, launcher_, [&] { stop.request_stop(); }, stop.get_token());
  ASSERT_FALSE(killed);
  EXPECT_TRUE(killed.error().retryable);
  EXPECT_GT(prepare()->build_seconds, 0);
}

TEST_F(OpenVinoEngines, ServeMeasurementsAndEvaluations) {
  MeasureTier tier = *find_tier("quick");
  tier.candidate_block = tier.reference_block = Seconds(0.005);
  std::vector<std::string> steps;
  const MeasureSettings settings{.launcher = launcher_,
                                 .files = SystemFiles(folder_.path()),
                                 .engines = engines_,
                                 .on_progress = [&](double, const std::string& what) { steps.push_back(what); }};
  protocol::Deploy deploy = deploy_with("openvino", "cpu");
  const auto first = measure(reference_model(), deploy, tier, settings, {});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_GT(first->measurement.engine_build_seconds(), 0);
  EXPECT_EQ(steps.front(), "building the engine");
  EXPECT_EQ(measure(reference_model(), deploy, tier, settings, {})->measurement.engine_build_seconds(), 0);

  // 10 images in batches of 4: the last one is filled up, as the engine is for 4.
  protocol::ImageSet set;
  set.set_channels(1);
  set.set_height(2);
  set.set_width(2);
  for (int i = 0; i < 10; ++i) {
    std::string pixels(4, '\x10');
    pixels[static_cast<std::size_t>(i % 4)] = '\xfe';
    set.mutable_pixels()->append(pixels);
    set.add_labels(i % 4);
  }
  protocol::Evaluate job;
  deploy.set_batch(4);
  *job.mutable_deploy() = deploy;
  steps.clear();
  const auto evaluated =
      evaluate(test_model("brightest"), folder_.write("images", set.SerializeAsString()), job,
               {.launcher = launcher_, .engines = engines_, .on_progress = settings.on_progress}, {});
  ASSERT_TRUE(evaluated) << evaluated.error().message;
  EXPECT_EQ(steps.front(), "building the engine");
  EXPECT_THAT(evaluated->predictions(), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
}

}  // namespace
}  // namespace finch::agent
