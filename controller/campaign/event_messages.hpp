// Protocol messages as JSON inside an event, and back. Free functions; thread safe.
#pragma once

#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace finch::controller {

nlohmann::json to_json(const google::protobuf::Message& message);

// Throws std::runtime_error: not such a message.
template <typename Message>
Message from_json(const nlohmann::json& json) {
  Message message;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json.dump(), &message);
  if (!parsed.ok()) throw std::runtime_error(parsed.ToString());
  return message;
}

}  // namespace finch::controller
