#include "controller/report/model_bundle.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/controller/report/sample_result.hpp"

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ModelBundleTest : public testing::Test {
 protected:
  ModelBundleTest() {
    std::filesystem::create_directory(root_);
    std::ofstream(root_ / "model") << "an ONNX file";
    bundle_.result = &result_;
    bundle_.model = &result_.models[2];
    bundle_.file = &result_.models[2].files[1];
    bundle_.explanation = {"Chosen: c003 int8, the fastest of these."};
    bundle_.path = root_ / "model";
    bundle_.channels = 1;
    bundle_.height = 2;
    bundle_.width = 3;
    for (int i = 0; i < 3; ++i) {
      BundleImage image{.pixels = {0, 0.25F, 0.5F, 0.75F, 1, 0.125F}, .label = i, .logits = std::vector<float>(10, -1)};
      image.logits[4] = 2.5F;
      bundle_.images.push_back(image);
    }
  }
  ~ModelBundleTest() override { std::filesystem::remove_all(root_); }

  std::string read(const char* name) const {
    std::ostringstream text;
    text << std::ifstream(root_ / "bundle" / name, std::ios::binary).rdbuf();
    return text.str();
  }

  const std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("finch-bundle-" + std::to_string(::getpid()));
  CampaignResult result_ = sample_result();
  Bundle bundle_;
};

TEST_F(ModelBundleTest, HoldsAllThatADeploymentNeeds) {
  ASSERT_TRUE(write_bundle(bundle_, root_ / "bundle"));
  EXPECT_EQ(read("model.onnx"), "an ONNX file");
  EXPECT_THAT(read("labels.txt"), AllOf(HasSubstr("T-shirt/top\nTrouser\n"), HasSubstr("Ankle boot\n")));
  const auto expected = nlohmann::json::parse(read("expected.json"));
  ASSERT_EQ(expected.size(), 3u);
  EXPECT_EQ(expected[1]["file"], "image-2.f32");
  EXPECT_EQ(expected[1]["label"], "Trouser");
  EXPECT_EQ(expected[1]["told"], "Coat");
  EXPECT_EQ(expected[1]["logits"][4], 2.5);
  ASSERT_EQ(read("image-3.f32").size(), 6 * sizeof(float));
  EXPECT_EQ(read("image-3.f32").substr(8, 4), std::string("\0\0\0\x3f", 4));  // 0.5
  EXPECT_THAT(read("run.py"), AllOf(HasSubstr("reshape(1, 1, 2, 3)"), Not(HasSubstr("CHANNELS"))));
  EXPECT_THAT(read("run.cpp"), AllOf(HasSubstr("{1, 1, 2, 3}"), Not(HasSubstr("WIDTH"))));
  EXPECT_FALSE(std::filesystem::exists(root_ / "bundle/weights.safetensors"));
}

TEST_F(ModelBundleTest, OfTensorFlowLiteHasItsRunner) {
  result_.models[2].files[1].path = "models/c003-int8.tflite";
  ASSERT_TRUE(write_bundle(bundle_, root_ / "bundle"));
  EXPECT_EQ(read("model.tflite"), "an ONNX file");
  EXPECT_THAT(read("run.py"), AllOf(HasSubstr("ai_edge_litert"), HasSubstr("reshape(1, 1, 2, 3)")));
  EXPECT_FALSE(std::filesystem::exists(root_ / "bundle/run.cpp"));
  EXPECT_THAT(read("card.md"), AllOf(HasSubstr("float32 `[N, 2, 3, 1]`"), HasSubstr("`model.tflite`, SHA-256"),
                                     HasSubstr("`run.py`: a minimal program"), Not(HasSubstr("run.cpp"))));
}

TEST_F(ModelBundleTest, TheCardSaysWhatTheModelIs) {
  const std::string card = model_card(bundle_);
  EXPECT_THAT(card, HasSubstr("| top1 | 87.00 % | 86.30 to 87.70 % |"));
  EXPECT_THAT(card, HasSubstr("| worst_class_recall | 70.00 % | 65.00 to 75.00 % |"));
  EXPECT_THAT(card, HasSubstr("| Trouser | 0 | 870 | 0 | 0 | 130 |"));
  EXPECT_THAT(card, HasSubstr("DEGRADED; foreign CPU 2.1 %"));
  EXPECT_THAT(card, HasSubstr("Chosen: c003 int8, the fastest of these."));
  EXPECT_THAT(card, HasSubstr("of sample \\</script\\> & co (int8)"));
  EXPECT_THAT(card, HasSubstr("## Licence"));
  EXPECT_THAT(card, Not(HasSubstr("weights.safetensors")));
  bundle_.safetensors = root_ / "model";
  EXPECT_THAT(model_card(bundle_), HasSubstr("weights.safetensors"));
}

TEST_F(ModelBundleTest, ManyClassesAreListedByTheirErrors) {
  for (int i = 10; i < 100; ++i) result_.class_names.push_back("class " + std::to_string(i));
  const std::string card = model_card(bundle_);
  EXPECT_THAT(card, HasSubstr("| T-shirt/top | Dress | 130 |"));
  EXPECT_THAT(card, Not(HasSubstr("class 50")));
}

TEST_F(ModelBundleTest, NothingIsOverwritten) {
  ASSERT_TRUE(write_bundle(bundle_, root_ / "bundle"));
  const auto again = write_bundle(bundle_, root_ / "bundle");
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("not empty; give another --output"));
  EXPECT_EQ(again.error().exit_code, ExitCode::usage);
}

}  // namespace
}  // namespace finch::controller
