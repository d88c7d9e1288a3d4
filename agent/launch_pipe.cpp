#include "agent/launch_pipe.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <span>

#include "protocol/framing.hpp"

namespace finch::agent {
namespace {

bool read_exactly(int descriptor, char* to, std::size_t size) {
  while (size > 0) {
    const ssize_t got = read(descriptor, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace

bool write_launch_message(int descriptor, const google::protobuf::MessageLite& message) {
  const auto frame = protocol::encode_frame(message);
  if (!frame) return false;
  std::string_view rest = *frame;
  while (!rest.empty()) {
    const ssize_t put = write(descriptor, rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

bool read_launch_message(int descriptor, google::protobuf::MessageLite& message) {
  std::array<char, protocol::kFrameHeaderBytes> header{};
  if (!read_exactly(descriptor, header.data(), header.size())) return false;
  const auto size = protocol::decode_frame_header(std::as_bytes(std::span(header)));
  if (!size) return false;
  std::string body(*size, '\0');
  return read_exactly(descriptor, body.data(), body.size()) && protocol::decode_frame_body(body, message).has_value();
}

std::optional<std::string> FrameReader::next() {
  if (damaged_ || buffer_.size() < protocol::kFrameHeaderBytes) return std::nullopt;
  const auto header = std::as_bytes(std::span(buffer_)).first<protocol::kFrameHeaderBytes>();
  const auto size = protocol::decode_frame_header(header);
  if (!size) {
    damaged_ = true;
    return std::nullopt;
  }
  const std::size_t end = protocol::kFrameHeaderBytes + *size;
  if (buffer_.size() < end) return std::nullopt;
  std::string message = buffer_.substr(protocol::kFrameHeaderBytes, *size);
  buffer_.erase(0, end);
  return message;
}

}  // namespace finch::agent
