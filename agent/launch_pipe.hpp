// Messages between the agent and its measuring process, framed as on the wire, over pipes.
// Thread safe as long as one thread uses a descriptor.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace google::protobuf {
class MessageLite;
}

namespace finch::agent {

// Blocks. False: the other end is gone, or sent what is no message.
bool write_launch_message(int descriptor, const google::protobuf::MessageLite& message);
bool read_launch_message(int descriptor, google::protobuf::MessageLite& message);

// Cuts messages out of bytes as they arrive.
class FrameReader {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole message; nothing: more bytes are needed, or damaged().
  std::optional<std::string> next();
  bool damaged() const { return damaged_; }

 private:
  std::string buffer_;
  bool damaged_ = false;
};

}  // namespace finch::agent
