#include "controller/config/quantity.hpp"

#include <gmock/gmock.h>

namespace finch::controller {
namespace {

TEST(QuantityTest, Durations) {
  EXPECT_DOUBLE_EQ(parse_milliseconds("20ms").value(), 20);
  EXPECT_DOUBLE_EQ(parse_milliseconds("0.5 s").value(), 500);
  EXPECT_DOUBLE_EQ(parse_milliseconds("800us").value(), 0.8);
  for (const char* bad : {"", "20", "20 min", "ms", "-3ms", "0ms", "nanms", "1e999ms"}) {
    const auto parsed = parse_milliseconds(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_THAT(parsed.error().message, testing::HasSubstr(bad));
    EXPECT_EQ(parsed.error().exit_code, ExitCode::usage);
  }
}

TEST(QuantityTest, Sizes) {
  EXPECT_DOUBLE_EQ(parse_bytes("64MB").value(), 64e6);
  EXPECT_DOUBLE_EQ(parse_bytes("64 MiB").value(), 64 << 20);
  EXPECT_DOUBLE_EQ(parse_bytes("1.5kB").value(), 1500);
  EXPECT_FALSE(parse_bytes("64"));
  EXPECT_FALSE(parse_bytes("0MB"));
}

TEST(QuantityTest, Shares) {
  EXPECT_DOUBLE_EQ(parse_share("0.9").value(), 0.9);
  EXPECT_DOUBLE_EQ(parse_share("90%").value(), 0.9);
  EXPECT_DOUBLE_EQ(parse_share("0").value(), 0);
  EXPECT_FALSE(parse_share("90"));
  EXPECT_FALSE(parse_share("-0.1"));
}

}  // namespace
}  // namespace finch::controller
