#include "controller/compression/compression_state.hpp"

#include <format>
#include <nlohmann/json.hpp>

#include "controller/campaign/event_messages.hpp"

namespace finch::controller {

std::expected<void, Error> CompressionState::apply(const Event& event) {
  try {
    if (event.type == "created") {
      config = compression_config(event.data.at("config"));
      started = event.utc;
    } else if (event.type == "device") {
      device = from_json<protocol::DeviceDescription>(event.data.at("result"));
    } else if (event.type == "data") {
      data = from_json<protocol::DataFacts>(event.data.at("result"));
    } else if (event.type == "teacher") {
      teacher = from_json<protocol::TrainedTeacher>(event.data.at("result"));
    } else if (event.type == "finished") {
      finished = event.utc;
    } else {
      pipeline.apply(event.type, event.data);
    }
  } catch (const std::exception& error) {  // nlohmann-json's and at()'s
    return std::unexpected(
        Error{std::format("event {} ({}) does not fit: {}", event.sequence, event.type, error.what())});
  }
  return {};
}

}  // namespace finch::controller
