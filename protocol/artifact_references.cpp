#include "protocol/artifact_references.hpp"

#include <algorithm>

#include "protocol/farm.pb.h"

namespace finch::protocol {
namespace {

void collect(const google::protobuf::Message& message, std::vector<NamedArtifact>& found) {
  if (message.GetDescriptor() == ArtifactRef::descriptor()) {
    const auto& reference = static_cast<const ArtifactRef&>(message);
    if (!reference.sha256().empty() &&
        std::ranges::find(found, reference.sha256(), &NamedArtifact::sha256) == found.end()) {
      found.push_back({reference.sha256(), reference.size_bytes()});
    }
    return;
  }
  const auto* reflection = message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (!field->is_repeated()) {
      collect(reflection->GetMessage(message, field), found);
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      collect(reflection->GetRepeatedMessage(message, field, i), found);
    }
  }
}

}  // namespace

std::vector<NamedArtifact> artifacts_named_by(const google::protobuf::Message& message) {
  std::vector<NamedArtifact> found;
  collect(message, found);
  return found;
}

}  // namespace finch::protocol
