#include "trainer/safetensors.hpp"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <fstream>
#include <random>

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class SafetensorsTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return path_;
  }
  std::string refusal(const std::string& bytes) const {
    const auto loaded = load_safetensors(write(bytes));
    return loaded ? "" : loaded.error().message;
  }
  ~SafetensorsTest() override { std::filesystem::remove(path_); }

  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("finch-safetensors-" + std::to_string(::getpid()));
};

TEST_F(SafetensorsTest, TheBytesOfTheFormat) {
  const auto bytes = serialize_safetensors({{"a", torch::tensor({1.0F, -2.0F})}});
  ASSERT_TRUE(bytes);
  const std::string json = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  ASSERT_EQ(json.size() % 8, 6U);
  EXPECT_EQ(*bytes, std::string("\x38\0\0\0\0\0\0\0", 8) + json + "  " + std::string("\0\0\x80\x3f\0\0\0\xc0", 8));
}

TEST_F(SafetensorsTest, ReadsWhatItWrote) {
  torch::manual_seed(1);
  const NamedTensors tensors = {{"stem.convolution.weight", torch::randn({8, 3, 3, 3})},
                                {"half", torch::randn({5}).to(torch::kHalf)},
                                {"steps", torch::tensor(7, torch::kLong)},
                                {"mask", torch::tensor({true, false, true})},
                                {"empty", torch::empty({0, 4})},
                                {"turned", torch::arange(6).reshape({2, 3}).t()}};
  const auto bytes = serialize_safetensors(tensors, {{"origin", "a \"test\""}});
  ASSERT_TRUE(bytes);
  const auto read = load_safetensors(write(*bytes));
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(read->at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(torch::equal(read->at(name), tensor)) << name;
  }
}

TEST_F(SafetensorsTest, RefusesWhatIsNone) {
  EXPECT_THAT(load_safetensors("/nowhere").error().message, HasSubstr("/nowhere: cannot be read"));
  EXPECT_THAT(refusal("abc"), HasSubstr("it has no header"));
  EXPECT_THAT(refusal(std::string(8, '\xff')), HasSubstr("its header is longer than it"));
  const auto file = [](const std::string& json, const std::string& data) {
    return std::string(1, static_cast<char>(json.size())) + std::string(7, '\0') + json + data;
  };
  EXPECT_THAT(refusal(file("{\"a\": 3}", "")), HasSubstr("damaged"));
  EXPECT_THAT(refusal(file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234")),
              HasSubstr("tensor a"));
  EXPECT_THAT(refusal(file(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", "12345678")),
              HasSubstr("\"C64\""));
  EXPECT_THAT(refusal(file(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234")),
              HasSubstr("more values than the file holds"));
  EXPECT_THAT(refusal(file(R"({"a":{"dtype":"F32","shape":[4611686018427387904,16],"data_offsets":[0,4]}})", "1234")),
              HasSubstr("more values than the file holds"));
}

TEST_F(SafetensorsTest, WeightsAreFloatsWhateverTheFileHolds) {
  const auto whole = load_weights(write(serialize_safetensors({{"a", torch::tensor({7})}}).value()));
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_TRUE(torch::equal(whole->at("a"), torch::tensor({7.0F})));
  const auto own = load_weights(write(serialize_tensors({{"a", torch::ones({2})}})));
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_TRUE(torch::equal(own->at("a"), torch::ones({2})));
  EXPECT_FALSE(load_weights(write("short")));
  EXPECT_FALSE(load_weights("/nowhere"));
}

// Whatever a broken download leaves: an answer, never a crash.
TEST_F(SafetensorsTest, SurvivesDamage) {
  const std::string good = serialize_safetensors({{"a", torch::ones({3, 2})}, {"b", torch::zeros({4})}}).value();
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    std::string bad = good.substr(0, random() % (good.size() + 1));
    for (int k = 0; k < 3 && !bad.empty(); ++k) bad[random() % bad.size()] = static_cast<char>(random());
    (void)load_safetensors(write(bad));
  }
}

}  // namespace
}  // namespace finch::trainer
