// Weights from safetensors files, whole and damaged.
#include "trainer/safetensors.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <fstream>
#include <random>

#include "tests/trainer/temporary_folder.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

std::string file_of(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + data;
}

class SafetensorsTest : public testing::Test {
 protected:
  std::expected<NamedTensors, Error> load(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return load_weights(path_);
  }
  const TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "weights.safetensors";
};

std::string sample() {
  const float values[] = {1, 2, 3, 4, 5, 6};
  const std::int64_t count = 7;
  const std::uint16_t halves[] = {0x3C00, 0xC000};  // 1, -2
  std::string data(reinterpret_cast<const char*>(values), sizeof values);
  data.append(reinterpret_cast<const char*>(&count), sizeof count);
  data.append(reinterpret_cast<const char*>(halves), sizeof halves);
  return file_of(R"({"__metadata__":{"format":"pt"},"fc.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                 R"("count":{"dtype":"I64","shape":[],"data_offsets":[24,32]},)"
                 R"("half":{"dtype":"F16","shape":[2],"data_offsets":[32,36]}})",
                 data);
}

TEST_F(SafetensorsTest, ReadsEveryTensorAsFloat) {
  const auto tensors = load(sample());
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->size(), 3);
  EXPECT_TRUE(torch::equal(tensors->at("fc.weight"), torch::tensor({{1.F, 2.F, 3.F}, {4.F, 5.F, 6.F}})));
  EXPECT_EQ(tensors->at("count").item<float>(), 7);
  EXPECT_TRUE(torch::equal(tensors->at("half"), torch::tensor({1.F, -2.F})));
}

TEST_F(SafetensorsTest, ReadsFinchsOwnFilesToo) {
  const auto tensors = load(serialize_tensors({{"a", torch::ones({2})}}));
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_TRUE(torch::equal(tensors->at("a"), torch::ones({2})));
}

TEST_F(SafetensorsTest, SaysWhatIsWrong) {
  EXPECT_THAT(load(file_of(R"({"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}})", "x")).error().message,
              HasSubstr("'a' is of the type F8"));
  EXPECT_THAT(load(file_of(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", "x")).error().message,
              HasSubstr("'a' does not fit"));
  EXPECT_THAT(load(file_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", "x"))
                  .error()
                  .message,
              HasSubstr("'a' does not fit"));
  EXPECT_THAT(load(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})", "abcd")).error().message,
              HasSubstr("does not lie where"));
  EXPECT_FALSE(load("short"));
  EXPECT_FALSE(load(""));
}

TEST_F(SafetensorsTest, DamageIsAnErrorNeverACrash) {
  std::mt19937 generator(1);
  const std::string whole = sample();
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    bytes[generator() % bytes.size()] = static_cast<char>(generator());
    if (i % 5 == 0) bytes.resize(generator() % bytes.size());
    (void)load(bytes);
  }
}

}  // namespace
}  // namespace finch::trainer
