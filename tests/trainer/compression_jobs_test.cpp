// A model read and taken through every step, as the trainer's jobs do it.
#include "trainer/compression_jobs.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/compression_step.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/export.hpp"
#include "trainer/model_import.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class CompressionJobs : public testing::Test {
 protected:
  CompressionJobs() { std::filesystem::create_directories(artifacts_); }

  // A small network, trained, as the ONNX file of some user.
  protocol::ArtifactRef trained_file() {
    const auto space = *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
    torch::manual_seed(1);
    NetworkModule module(space->decode(space->largest()).value(), dataset_.mean, dataset_.stddev);
    Training training(module, dataset_.train, {}, {.epochs = 8, .batch_size = 16});
    EXPECT_TRUE(run(training, [](double) {}));
    const std::vector<std::string> precisions = {"fp32"};
    const auto exported = export_models(module, dataset_.train, {}, {}, precisions, [](double) {});
    return output_.write(exported->models.front().bytes).value();
  }
  protocol::CompressedModel read(const protocol::ArtifactRef& file) {
    protocol::ReadModel job;
    *job.mutable_file() = file;
    job.set_origin("my model");
    const auto result = read_model(job, dataset_, path_, output_);
    EXPECT_TRUE(result) << result.error().message;
    return result ? result->compressed_model() : protocol::CompressedModel();
  }
  std::expected<protocol::JobResult, Error> step(const protocol::CompressedModel& from, const std::string& name,
                                                 double amount, double epochs) {
    protocol::CompressModel job;
    *job.mutable_model() = from.model();
    job.set_step(name);
    job.set_amount(amount);
    job.mutable_recipe()->set_epochs(epochs);
    job.mutable_recipe()->set_batch_size(16);
    job.mutable_recipe()->set_learning_rate(0.005);
    return compress_model(job, dataset_, path_, output_);
  }
  double accuracy(const protocol::CompressedModel& compressed) {
    const auto model = load_model(artifacts_ / compressed.model().sha256());
    EXPECT_TRUE(model) << model.error().message;
    return top1([&](const torch::Tensor& images) { return model->module->forward(images); }, dataset_.validation);
  }

  const TemporaryFolder folder_;
  const std::filesystem::path artifacts_ = folder_.path() / "artifacts";
  JobOutput output_{artifacts_, [](const protocol::ChildEvent&) {}};
  const ArtifactPath path_ = [this](const protocol::ArtifactRef& artifact) { return artifacts_ / artifact.sha256(); };
  const Dataset dataset_ = sample_dataset();
};

TEST_F(CompressionJobs, TakesAModelThroughEveryStep) {
  const auto original = read(trained_file());
  ASSERT_GE(accuracy(original), 0.9);
  protocol::ImageSet images;
  std::ifstream file(artifacts_ / original.validation_set().sha256(), std::ios::binary);
  ASSERT_TRUE(images.ParseFromIstream(&file));
  EXPECT_EQ(images.labels_size(), 40);

  const auto distilled = step(original, "distill", 1, 0);
  ASSERT_TRUE(distilled) << distilled.error().message;
  EXPECT_EQ(distilled->compressed_model().macs(), original.macs());

  const auto pruned = step(distilled->compressed_model(), "prune", 0.4, 2);
  ASSERT_TRUE(pruned) << pruned.error().message;
  EXPECT_LE(pruned->compressed_model().macs(), 6 * original.macs() / 10);
  EXPECT_LT(pruned->compressed_model().file().artifact().size_bytes(), original.file().artifact().size_bytes());
  EXPECT_GE(accuracy(pruned->compressed_model()), 0.8);

  const auto clustered = step(pruned->compressed_model(), "cluster", 4, 1);
  ASSERT_TRUE(clustered) << clustered.error().message;
  EXPECT_LT(clustered->compressed_model().compressed_bytes(), pruned->compressed_model().compressed_bytes() / 2);

  const auto quantized = step(clustered->compressed_model(), "quantize", 0, 0);
  ASSERT_TRUE(quantized) << quantized.error().message;
  EXPECT_EQ(quantized->compressed_model().file().precision(), "int8");
  EXPECT_THAT(step(quantized->compressed_model(), "quantize", 0, 0).error().message, HasSubstr("quantized already"));
}

TEST_F(CompressionJobs, QuantizesAsTheJobSays) {
  const auto original = read(trained_file());
  protocol::CompressModel job;
  *job.mutable_model() = original.model();
  job.set_step("quantize");
  job.mutable_recipe()->set_batch_size(16);
  job.mutable_recipe()->set_learning_rate(0.005);
  protocol::Quantize& quantize = *job.mutable_quantize();
  quantize.set_calibration("minmax");
  quantize.set_calibration_images(32);
  quantize.set_qat_drop(1);
  quantize.set_qat_epochs(1);
  const auto calibrated = compress_model(job, dataset_, path_, output_);
  ASSERT_TRUE(calibrated) << calibrated.error().message;
  const protocol::QuantizationReport& report = calibrated->compressed_model().quantization();
  EXPECT_GT(report.layers(), 0);
  EXPECT_GT(report.int8_top1(), 0.8);
  EXPECT_FALSE(report.has_qat_top1());

  quantize.set_qat_drop(-1);  // no result is good enough
  quantize.set_mixed_precision(true);
  const auto more = compress_model(job, dataset_, path_, output_);
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_TRUE(more->compressed_model().quantization().has_qat_top1());
  EXPECT_GE(more->compressed_model().quantization().int8_top1(), report.int8_top1());

  quantize.set_calibration("guess");
  EXPECT_THAT(compress_model(job, dataset_, path_, output_).error().message, HasSubstr("guess"));
}

TEST_F(CompressionJobs, TheInputsShapeIsTheDatas) {
  protocol::ReadModel job;
  *job.mutable_file() = trained_file();
  job.set_origin("mine.onnx");
  job.mutable_shape()->set_name("image");
  for (const int extent : {1, 1, 16, 16}) job.mutable_shape()->add_extents(extent);
  EXPECT_TRUE(read_model(job, dataset_, path_, output_));
  job.mutable_shape()->set_extents(3, 20);
  EXPECT_THAT(read_model(job, dataset_, path_, output_).error().message, HasSubstr("N x 1 x 16 x 16"));
  job.mutable_shape()->set_extents(3, 16);
  job.mutable_shape()->set_name("picture");
  EXPECT_THAT(read_model(job, dataset_, path_, output_).error().message, HasSubstr("its input is 'image'"));
}

TEST_F(CompressionJobs, SaysWhatCannotBe) {
  EXPECT_THAT(step(read(trained_file()), "prun", 0, 0).error().message, HasSubstr("cluster, distill, prune, quantize"));
  protocol::ReadModel job;
  *job.mutable_file() = output_.write("no model").value();
  job.set_origin("mine.onnx");
  EXPECT_THAT(read_model(job, dataset_, path_, output_).error().message, HasSubstr("mine.onnx: not an ONNX model"));
}

TEST(CompressionSteps, OneOfOnesOwnReplacesOrAdds) {
  struct Nothing : CompressionStep {
    std::expected<Model, Error> apply(Model model, const CompressionTask&, std::vector<std::string>&) override {
      return model;
    }
  };
  CompressionSteps steps;
  register_builtin_compression_steps(steps);
  EXPECT_FALSE(steps.make("nothing"));
  steps.add("nothing", [] { return std::make_unique<Nothing>(); });
  EXPECT_TRUE(steps.make("nothing"));
}

}  // namespace
}  // namespace finch::trainer
