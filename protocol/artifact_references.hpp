// Finds every artifact that a message names, whatever its type. Thread safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace google::protobuf {
class Message;
}

namespace finch::protocol {

struct NamedArtifact {
  std::string sha256;
  std::int64_t size_bytes = 0;
};

// All ArtifactRef messages inside `message`, each hash once.
std::vector<NamedArtifact> artifacts_named_by(const google::protobuf::Message& message);

}  // namespace finch::protocol
