#include "protocol/framing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/farm.pb.h"

namespace finch::protocol {
namespace {

using testing::HasSubstr;

std::expected<std::size_t, Error> header(const std::string& bytes, std::size_t limit = kMaxFrameBytes) {
  return decode_frame_header(std::as_bytes(std::span(bytes)).first<kFrameHeaderBytes>(), limit);
}

TEST(Framing, LengthIsBigEndianAndTheMessageComesBack) {
  ToController message;
  message.mutable_progress()->set_message(std::string(300, 'x'));
  const auto frame = encode_frame(message);
  ASSERT_TRUE(frame);
  const std::string body = frame->substr(kFrameHeaderBytes);
  EXPECT_EQ(frame->substr(0, 4),
            std::string({0, 0, static_cast<char>(body.size() >> 8), static_cast<char>(body.size() & 0xff)}));
  EXPECT_EQ(header(*frame), body.size());
  ToController again;
  ASSERT_TRUE(decode_frame_body(body, again));
  EXPECT_EQ(again.progress().message(), message.progress().message());
}

TEST(Framing, AFrameOfExactlyTheLimitPassesAndOneByteMoreDoesNot) {
  ToWorker message;
  auto& data = *message.mutable_artifact_chunk()->mutable_data();
  data.resize(kMaxFrameBytes - 64);
  data.resize(data.size() + kMaxFrameBytes - message.ByteSizeLong());
  ASSERT_EQ(message.ByteSizeLong(), kMaxFrameBytes);
  EXPECT_TRUE(encode_frame(message));
  data.push_back('x');
  const auto refused = encode_frame(message);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("4194305"));
}

TEST(Framing, AnnouncedSizesAboveTheLimitAreRefused) {
  EXPECT_TRUE(header({0, 0x40, 0, 0}));
  EXPECT_FALSE(header({0, 0x40, 0, 1}));
  EXPECT_FALSE(header({'\xff', '\xff', '\xff', '\xff'}));
  EXPECT_FALSE(header({0, 0, 0, 9}, 8));
  EXPECT_FALSE(header("GET "));
}

TEST(Framing, GarbageIsNoMessage) {
  ToController message;
  EXPECT_FALSE(decode_frame_body("\xff\xff\xff garbage", message));
}

}  // namespace
}  // namespace finch::protocol
