#include "protocol/input_shape.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace finch::protocol {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(InputShape, IsNameAndExtents) {
  const auto shape = parse_input_shape("image=1,3,224,224");
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->name(), "image");
  EXPECT_THAT(shape->extents(), ElementsAre(1, 3, 224, 224));
  EXPECT_EQ(parse_input_shape("a:0=5")->name(), "a:0");
}

TEST(InputShape, ElseItIsToldHow) {
  for (const char* wrong :
       {"", "image", "=1,2", "image=", "image=1,,2", "image=1,x", "image=0", "image=-1", "image=1.5"}) {
    const auto shape = parse_input_shape(wrong);
    ASSERT_FALSE(shape) << wrong;
    EXPECT_THAT(shape.error().message, HasSubstr("NAME=1,3,224,224")) << wrong;
  }
}

}  // namespace
}  // namespace finch::protocol
