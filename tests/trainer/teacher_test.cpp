#include "trainer/teacher.hpp"

#include <gmock/gmock.h>
#include <torch/script.h>

#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TeacherTest : public testing::Test {
 protected:
  std::filesystem::path save_script(const std::string& forward) const {
    torch::jit::Module module("teacher");
    module.define("def forward(self, images):\n    " + forward + "\n");
    module.save(path_.string());
    return path_;
  }
  std::string error_of(const std::filesystem::path& path) const {
    const auto loaded = load_teacher(path, data_);
    return loaded ? "" : loaded.error().message;
  }

  const Dataset data_ = sample_dataset();
  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "teacher.pt";
};

TEST_F(TeacherTest, TheBuiltInOneComputesTheSameAfterItsFile) {
  torch::manual_seed(1);
  NetworkModule teacher(teacher_network({1, kSampleSize, kSampleSize}, kSampleClasses).value(), data_.mean,
                        data_.stddev);
  teacher.eval();
  write_file(path_, serialize_teacher(teacher, data_));
  const auto loaded = load_teacher(path_, data_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  const torch::Tensor images = plain_images(data_.test, 0, 8);
  EXPECT_TRUE(torch::equal((*loaded)(images), teacher.forward(images)));

  Dataset other = data_;
  other.class_names.push_back("fifth");
  const auto refused = load_teacher(path_, other);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr(path_.string()), HasSubstr("other images or classes")));
}

TEST_F(TeacherTest, ServesImagesOfAllSizes) {
  for (const std::int64_t size : {16, 28, 32, 64, 224}) {
    const auto network = teacher_network({3, size, size}, 10);
    ASSERT_TRUE(network) << size;
    const auto& last = network->nodes[network->nodes.size() - 3].shape;  // what is pooled
    EXPECT_GE(last.height, 4) << size;
    EXPECT_LE(last.height, 28) << size;
  }
}

TEST_F(TeacherTest, AModuleOfTheUsersIsTorchScript) {
  const auto loaded = load_teacher(save_script("return images.mean([1, 3])[:, :4]"), data_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  const torch::Tensor images = plain_images(data_.test, 0, 8);
  EXPECT_TRUE(torch::allclose((*loaded)(images), images.mean({1, 3}).slice(1, 0, 4)));
}

TEST_F(TeacherTest, SaysWhatATeacherMustTakeAndGive) {
  EXPECT_THAT(error_of(save_script("return images.mean([1, 3])[:, :5]")),
              AllOf(HasSubstr(path_.string()), HasSubstr("[2, 5]"), HasSubstr("logits [N, 4]")));
  EXPECT_THAT(error_of(save_script("return images.mean([1, 3])[:, :4].long()")), HasSubstr("another type"));
  EXPECT_THAT(error_of(save_script("return images.view([1, 3, 99])")),
              AllOf(HasSubstr("fails on the data's images"), HasSubstr("float32 [N, 1, 16, 16]")));
  write_file(path_, "no module");
  EXPECT_THAT(error_of(path_), AllOf(HasSubstr(path_.string()), HasSubstr("torch.jit.script")));
}

}  // namespace
}  // namespace finch::trainer
