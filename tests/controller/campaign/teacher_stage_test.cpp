// Whatever a teacher comes from, and what its students are given.
#include <gmock/gmock.h>

#include <fstream>

#include "controller/campaign/campaign.hpp"
#include "controller/campaign/teacher_source.hpp"
#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::HasSubstr;

class TeacherStageTest : public testing::Test, protected CampaignFixture {
 protected:
  static std::string small_and(const std::string& tables) { return kSmall + tables; }
  std::string file(const std::string& name) const {
    const auto path = folder(name);
    std::ofstream(path) << "bytes of " << name;
    return path.string();
  }
  static std::string sha256_of(const std::string& path) { return protocol::sha256_of_file(path).value(); }
  const Job& only(Job::SpecCase kind) {
    EXPECT_EQ(farm.count(kind), 1u);
    return *std::ranges::find(farm.served, kind, &Job::spec_case);
  }
};

TEST_F(TeacherStageTest, AnOnnxTeacherIsAskedOnTheDevice) {
  const std::string onnx = file("teacher.onnx");
  finish("run", config(small_and("[teacher]\nonnx = \"" + onnx + "\"\n")));
  const auto& asked = only(Job::kComputeLogits).compute_logits();
  EXPECT_EQ(asked.model().sha256(), sha256_of(onnx));
  EXPECT_EQ(asked.images().sha256(), protocol::sha256_hex("training images"));
  EXPECT_EQ(asked.device(), "local");
  EXPECT_EQ(asked.deploy().precision(), "fp32");
  EXPECT_TRUE(asked.mirrored());
  const auto& loaded = only(Job::kTrainTeacher).train_teacher();
  EXPECT_EQ(loaded.torchscript_size(), 0);
  ASSERT_EQ(loaded.logits_size(), 1);
  EXPECT_EQ(loaded.logits(0).sha256(), protocol::sha256_hex("logits of " + sha256_of(onnx)));
  for (const Job& job : farm.served) {
    if (job.has_train_candidate()) EXPECT_TRUE(job.train_candidate().has_soft_targets());
  }
}

TEST_F(TeacherStageTest, SeveralTeachersAreLoadedTogether) {
  const std::string onnx = file("one.onnx"), script = file("two.pt"), other = file("three.pt");
  finish("run", config(small_and("[teacher]\nmodels = [\"" + onnx + "\", \"" + script + "\", \"" + other + "\"]\n")));
  const auto& loaded = only(Job::kTrainTeacher).train_teacher();
  EXPECT_EQ(loaded.logits_size(), 1);
  ASSERT_EQ(loaded.torchscript_size(), 2);
  EXPECT_EQ(loaded.torchscript(0).sha256(), sha256_of(script));
  EXPECT_EQ(loaded.torchscript(1).sha256(), sha256_of(other));
}

TEST_F(TeacherStageTest, TheTeacherOfAnEarlierCampaignIsUsedAgain) {
  finish("first", config());
  farm.served.clear();
  finish("second", config(small_and("[teacher]\nfrom = \"" + folder("first").string() + "\"\n")));
  const auto& loaded = only(Job::kTrainTeacher).train_teacher();
  ASSERT_EQ(loaded.torchscript_size(), 1);
  EXPECT_EQ(loaded.torchscript(0).sha256(), protocol::sha256_hex("teacher"));
}

TEST_F(TeacherStageTest, ACampaignWithoutATeacherGivesItsBestModel) {
  const CampaignResult first = finish("first", config(small_and("[teacher]\nenabled = false\n")));
  const TeacherConfig teacher{.from = folder("first").string()};
  std::ofstream(folder("first") / "front.json")
      << R"({"models": [{"files": [{"path": "models/a.onnx", "precision": "fp32", "accuracy": {"top1": 0.8}},)"
      << R"({"path": "models/a.int8.onnx", "precision": "int8", "accuracy": {"top1": 0.99}}]},)"
      << R"({"files": [{"path": "models/b.onnx", "precision": "fp32", "accuracy": {"top1": 0.9}}]}]})";
  EXPECT_THAT(teacher_files(teacher, folder("nowhere")).error().message, HasSubstr("neither a teacher"));
  std::ofstream(folder("first") / "models/b.onnx") << "model";
  const auto files = teacher_files(teacher, folder("nowhere"));
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->size(), 1u);
  EXPECT_TRUE(files->front().onnx);
  EXPECT_EQ(files->front().path, folder("first") / "models/b.onnx");
  EXPECT_FALSE(first.models.empty());
}

TEST_F(TeacherStageTest, StudentsOfFeaturesGetTheTeacherItself) {
  finish("run", config(small_and("[train]\ndistillation = \"attention\"\nfeature_weight = 3.0\n")));
  std::size_t students = 0;
  for (const Job& job : farm.served) {
    if (!job.has_train_candidate()) continue;
    ++students;
    EXPECT_FALSE(job.train_candidate().has_soft_targets());
    EXPECT_EQ(job.train_candidate().teacher().sha256(), protocol::sha256_hex("teacher"));
    EXPECT_EQ(job.train_candidate().recipe().distillation(), "attention");
    EXPECT_EQ(job.train_candidate().recipe().feature_weight(), 3);
  }
  EXPECT_GT(students, 8u);
  EXPECT_EQ(only(Job::kTrainTeacher).train_teacher().recipe().distillation(), "");
}

TEST_F(TeacherStageTest, AugmentationAndClassWeightsArePartOfTheRecipe) {
  finish("run", config(small_and("[train]\nrandaugment_operations = 2\nrandaugment_magnitude = 7.0\nmixup = 0.2\n"
                                 "cutmix = 1.0\nrandom_erasing = 0.25\nclass_weights = \"balanced\"\n")));
  for (const Job& job : farm.served) {
    if (!job.has_train_candidate()) continue;
    const protocol::Recipe& recipe = job.train_candidate().recipe();
    EXPECT_EQ(recipe.randaugment_operations(), 2);
    EXPECT_EQ(recipe.randaugment_magnitude(), 7);
    EXPECT_EQ(recipe.mixup(), 0.2);
    EXPECT_EQ(recipe.cutmix(), 1);
    EXPECT_EQ(recipe.random_erasing(), 0.25);
    EXPECT_TRUE(recipe.balanced_classes());
  }
}

}  // namespace
}  // namespace finch::controller
