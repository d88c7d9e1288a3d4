// The travel form of networks, and model artifacts, over all spaces and over garbage.
#include "trainer/network_message.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "search/search_space.hpp"
#include "tests/search/network_fingerprint.hpp"
#include "tests/search/sample_custom_space.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/model_file.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

std::vector<search::SpaceConfig> all_spaces() {
  return {{"mobilenet", {1, 28, 28}, 10},
          {"shufflenet", {3, 32, 32}, 10},
          {"nasbench201", {3, 32, 32}, 10},
          {"mine", {3, 32, 32}, 7, search::sample_custom_space()}};
}

template <typename Check>
void for_random_networks(int count, const Check& check) {
  for (const search::SpaceConfig& config : all_spaces()) {
    const auto space = search::make_search_space(config);
    ASSERT_TRUE(space) << space.error().message;
    std::mt19937_64 generator(3);
    for (int i = 0; i < count; ++i) {
      const search::Genotype genotype = (*space)->random(generator);
      auto network = (*space)->decode(genotype);
      if (!network) continue;  // a cell that computes nothing
      SCOPED_TRACE(config.name + " " + search::to_string(genotype));
      check(std::move(*network));
    }
  }
}

TEST(NetworkMessage, ComesBackAsItWas) {
  for_random_networks(40, [](const search::Network& network) {
    protocol::NetworkGraph message;
    ASSERT_TRUE(message.ParseFromString(network_message(network).SerializeAsString()));
    const auto back = network_of(message);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(fingerprint(*back), fingerprint(network));
  });
}

TEST(NetworkMessage, NamesWhatIsWrong) {
  protocol::NetworkGraph message;
  EXPECT_FALSE(network_of(message));
  message.set_channels(1);
  message.set_height(8);
  message.set_width(8);
  auto& node = *message.add_nodes();
  node.set_name("pool");
  node.add_inputs(0);
  EXPECT_THAT(network_of(message).error().message, HasSubstr("node 'pool' says no operation"));
  node.set_activation("tanh");
  EXPECT_THAT(network_of(message).error().message, HasSubstr("tanh"));
  node.mutable_convolution()->set_out_channels(std::int64_t{1} << 60);
  EXPECT_THAT(network_of(message).error().message, HasSubstr("node 'pool'"));
  node.mutable_global_average_pool();
  EXPECT_TRUE(network_of(message));
  node.set_name("a/b");
  EXPECT_THAT(network_of(message).error().message, HasSubstr("'/'"));
  node.set_name("pool");
  node.set_inputs(0, 7);
  EXPECT_FALSE(network_of(message));
}

TEST(NetworkMessage, GarbageIsAnErrorOrANetworkNeverACrash) {
  std::mt19937 generator(5);
  for_random_networks(8, [&](const search::Network& network) {
    const std::string whole = network_message(network).SerializeAsString();
    for (int i = 0; i < 100; ++i) {
      std::string bytes = whole;
      for (int change = 0; change < 1 + i % 8; ++change)
        bytes[generator() % bytes.size()] = static_cast<char>(generator());
      protocol::NetworkGraph message;
      if (message.ParseFromString(bytes)) (void)network_of(message);
    }
  });
}

TEST(ModelFile, ComesBackWithTheSameOutputs) {
  const TemporaryFolder folder;
  torch::manual_seed(1);
  for_random_networks(2, [&](search::Network network) {
    const auto channels = static_cast<std::size_t>(network.input_shape().channels);
    const search::TensorShape image = network.input_shape();
    Model model{.module = std::make_unique<NetworkModule>(std::move(network), std::vector<float>(channels, 0.4F),
                                                          std::vector<float>(channels, 0.2F)),
                .precision = "int8",
                .class_names = {"a", "b"},
                .origin = "a test"};
    model.module->eval();
    const auto path = folder.path() / "model";
    const std::string bytes = serialize_model(model);
    std::ofstream(path, std::ios::binary) << bytes;
    const auto back = load_model(path);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->precision, "int8");
    EXPECT_EQ(back->class_names, model.class_names);
    EXPECT_EQ(back->origin, "a test");
    EXPECT_EQ(serialize_model(*back), bytes);
    const torch::NoGradGuard no_grad;
    const torch::Tensor images = torch::rand({2, image.channels, image.height, image.width});
    EXPECT_TRUE(torch::equal(back->module->forward(images), model.module->forward(images)));
  });
}

TEST(ModelFile, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model";
  search::NetworkBuilder builder({1, 8, 8});
  builder.add("classifier", search::Linear{3}, {builder.add("pool", search::GlobalAveragePool{}, {0})});
  Model model;
  model.module =
      std::make_unique<NetworkModule>(builder.finish().value(), std::vector<float>{0}, std::vector<float>{1});
  std::ofstream(path, std::ios::binary) << serialize_model(model);
  auto tensors = load_tensors(path).value();
  tensors.erase("classifier.bias");
  std::ofstream(path, std::ios::binary) << serialize_tensors(tensors);
  EXPECT_THAT(load_model(path).error().message, HasSubstr("classifier.bias"));
  tensors["model"] = torch::randint(0, 255, {40}, torch::kUInt8);
  std::ofstream(path, std::ios::binary) << serialize_tensors(tensors);
  EXPECT_FALSE(load_model(path));
  std::ofstream(path, std::ios::binary) << "no tensors at all";
  EXPECT_FALSE(load_model(path));
}

}  // namespace
}  // namespace finch::trainer
