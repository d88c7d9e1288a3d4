#include "agent/kernel_profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace finch::agent {
namespace {

using testing::HasSubstr;

// As ONNX Runtime 1.21 writes it.
constexpr std::string_view kProfile = R"([
{"cat" : "Session","pid" :1,"tid" :1,"dur" :1,"ts" :4,"ph" : "X","name" :"model_loading_uri","args" : {}},
{"cat" : "Node","pid" :1,"tid" :1,"dur" :9,"ts" :10,"ph" : "X","name" :"stem_kernel_time","args" : {"op_name" : "QLinearConv","provider" : "CPUExecutionProvider","node_index" : "3"}},
{"cat" : "Node","pid" :1,"tid" :1,"dur" :2,"ts" :20,"ph" : "X","name" :"head_kernel_time","args" : {"op_name" : "FusedConv","node_index" : "4"}},
{"cat" : "Node","pid" :1,"tid" :1,"dur" :5,"ts" :30,"ph" : "X","name" :"stem_kernel_time","args" : {"op_name" : "QLinearConv","node_index" : "3"}},
{"cat" : "Node","pid" :1,"tid" :1,"dur" :7,"ts" :40,"ph" : "X","name" :"stem_kernel_time","args" : {"op_name" : "QLinearConv","node_index" : "3"}},
{"cat" : "Session","pid" :1,"tid" :1,"dur" :40,"ts" :5,"ph" : "X","name" :"model_run","args" : {}}
])";

TEST(KernelProfile, HasEachNodeWithItsMedian) {
  const auto profile = read_kernel_profile(kProfile);
  ASSERT_TRUE(profile) << profile.error().message;
  ASSERT_EQ(profile->kernels_size(), 2);
  EXPECT_EQ(profile->kernels(0).node(), "stem");
  EXPECT_EQ(profile->kernels(0).operation(), "QLinearConv");
  EXPECT_EQ(profile->kernels(0).median_us(), 7);
  EXPECT_EQ(profile->kernels(1).node(), "head");
  EXPECT_EQ(profile->kernels(1).operation(), "FusedConv");
  EXPECT_THAT(kernels_text(*profile), HasSubstr("QLinearConv"));
}

TEST(KernelProfile, WhatNamesNoKernelsIsAnError) {
  for (const std::string_view text :
       {"", "[]", "{\"name\" :\"x_kernel_time\"", "\"name\" :\"x_kernel_time\",\"dur\" :"}) {
    EXPECT_FALSE(read_kernel_profile(text)) << text;
  }
}

TEST(KernelProfile, KnowsIntegerAndFloatLayers) {
  EXPECT_TRUE(is_integer_layer("QLinearConv"));
  EXPECT_TRUE(is_integer_layer("QGemm"));
  EXPECT_TRUE(is_float_layer("FusedConv"));
  EXPECT_TRUE(is_float_layer("Gemm"));
  EXPECT_FALSE(is_float_layer("QLinearConv"));
  EXPECT_FALSE(is_integer_layer("QLinearAdd") || is_float_layer("QLinearAdd"));
}

}  // namespace
}  // namespace finch::agent
