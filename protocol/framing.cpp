#include "protocol/framing.hpp"

#include <google/protobuf/message_lite.h>

#include <format>

namespace finch::protocol {

std::expected<std::string, Error> encode_frame(const google::protobuf::MessageLite& message) {
  const std::size_t size = message.ByteSizeLong();
  if (size > kMaxFrameBytes) {
    return std::unexpected(Error{std::format("a message of {} bytes ({}) is larger than the {} bytes of a frame", size,
                                             message.GetTypeName(), kMaxFrameBytes)});
  }
  std::string frame;
  frame.reserve(kFrameHeaderBytes + size);
  for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>((size >> shift) & 0xff));
  if (!message.AppendToString(&frame)) {
    return std::unexpected(Error{std::format("a message ({}) cannot be serialized", message.GetTypeName())});
  }
  return frame;
}

std::expected<std::size_t, Error> decode_frame_header(std::span<const std::byte, kFrameHeaderBytes> header,
                                                      std::size_t limit) {
  std::size_t size = 0;
  for (const std::byte byte : header) size = size << 8 | std::to_integer<std::size_t>(byte);
  if (size > limit) {
    return std::unexpected(Error{std::format("the peer announced a frame of {} bytes, {} are allowed", size, limit)});
  }
  return size;
}

std::expected<void, Error> decode_frame_body(std::string_view body, google::protobuf::MessageLite& message) {
  if (!message.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return std::unexpected(Error{std::format("{} bytes are no message of type {}: the peer speaks another protocol",
                                             body.size(), message.GetTypeName())});
  }
  return {};
}

}  // namespace finch::protocol
