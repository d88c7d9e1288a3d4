#include "controller/campaign/event_messages.hpp"

namespace finch::controller {

nlohmann::json to_json(const google::protobuf::Message& message) {
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text);
  return nlohmann::json::parse(text);
}

}  // namespace finch::controller
