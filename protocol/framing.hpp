// The framing of the wire: a 4-byte big-endian length, then one serialized message. Pure functions; thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "protocol/error.hpp"

namespace google::protobuf {
class MessageLite;
}  // namespace google::protobuf

namespace finch::protocol {

inline constexpr std::size_t kFrameHeaderBytes = 4;
inline constexpr std::size_t kMaxFrameBytes = std::size_t{4} << 20;  // of the message, without its header
inline constexpr std::size_t kChunkBytes = std::size_t{256} << 10;   // of artifact data in one message

// Header and message. Error: larger than kMaxFrameBytes.
std::expected<std::string, Error> encode_frame(const google::protobuf::MessageLite& message);
// Size of the message that follows. Error: larger than `limit`.
std::expected<std::size_t, Error> decode_frame_header(std::span<const std::byte, kFrameHeaderBytes> header,
                                                      std::size_t limit = kMaxFrameBytes);
// Error: not a message of this type.
std::expected<void, Error> decode_frame_body(std::string_view body, google::protobuf::MessageLite& message);

}  // namespace finch::protocol
