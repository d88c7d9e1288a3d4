// What the trainer says of its files is what the runtimes find.
#include "trainer/exported_files.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>

#include "search/search_space.hpp"
#include "tests/trainer/deployed_file.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/batch_source.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class ExportedFiles : public testing::Test {
 protected:
  ExportedFiles() {
    for (const char* precision : {"fp32", "int8"}) job_.add_precisions(precision);
    const auto space = *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
    torch::manual_seed(1);
    module_ = std::make_unique<NetworkModule>(space->decode(space->smallest()).value(), data_.mean, data_.stddev);
    recipe_.epochs = 4;
    recipe_.batch_size = 16;
    Training training(*module_, data_.train, {}, recipe_);
    EXPECT_TRUE(run(training, [](double) {}));
  }
  std::expected<void, Error> write() {
    JobOutput output(folder_.path(), [](const protocol::ChildEvent&) {});
    return export_trained(*module_, job_, data_, recipe_, {}, output, trained_);
  }
  double top1_of(const protocol::ExportedFile& file) const {
    std::ifstream stream(folder_.path() / file.artifact().sha256(), std::ios::binary);
    const std::string model(std::istreambuf_iterator<char>(stream), {});
    torch::Tensor images = plain_images(data_.test, 0, data_.test.size());
    if (file.format() == "tflite") images = images.permute({0, 2, 3, 1});
    const torch::Tensor labels = torch::tensor(data_.test.labels, torch::kLong);
    return run_file(model, images, kSampleClasses).argmax(1).eq(labels).to(torch::kDouble).mean().item<double>();
  }

  const Dataset data_ = sample_dataset();
  const TemporaryFolder folder_;
  TrainingOptions recipe_;
  std::unique_ptr<NetworkModule> module_;
  protocol::TrainCandidate job_;
  protocol::TrainedCandidate trained_;
};

TEST_F(ExportedFiles, GiveTheAccuracyThatTheTrainerSays) {
  for (const char* format : {"onnx", "tflite"}) job_.add_formats(format);
  const auto written = write();
  ASSERT_TRUE(written) << written.error().message;
  ASSERT_EQ(trained_.files_size(), 4);
  int said = 0;
  for (const protocol::ExportedFile& file : trained_.files()) {
    SCOPED_TRACE(file.precision() + " " + file.format());
    if (file.format() == "tflite" && !litert_is_here()) continue;
    EXPECT_EQ(file.has_test_top1(), file.precision() == "fp32" || file.format() == "onnx");
    if (!file.has_test_top1()) continue;
    ++said;
    EXPECT_NEAR(top1_of(file), file.test_top1(), 1.01 / static_cast<double>(data_.test.size()));
  }
  EXPECT_EQ(said, litert_is_here() ? 3 : 2);
}

TEST_F(ExportedFiles, AreOnnxWhereNothingElseIsSaid) {
  ASSERT_TRUE(write());
  ASSERT_EQ(trained_.files_size(), 2);
  for (const protocol::ExportedFile& file : trained_.files()) EXPECT_EQ(file.format(), "onnx");
}

TEST_F(ExportedFiles, OfAnUnknownFormatAreRefused) {
  job_.add_formats("gguf");
  EXPECT_THAT(write().error().message, HasSubstr("unknown format 'gguf'; known: onnx, tflite"));
}

}  // namespace
}  // namespace finch::trainer
