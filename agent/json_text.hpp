// The few pieces of JSON that the agent writes. Pure functions; thread safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace finch::agent {

// A JSON string. What is no UTF-8 in `text` becomes U+FFFD: a sensor's label may hold anything.
std::string json_string(std::string_view text);
std::string json_string_or_null(std::string_view text);  // null when empty

// A number, or null when it is absent or not finite.
std::string number_or_null(const std::optional<double>& value);

// Any range of strings.
std::string json_string_list(const auto& texts) {
  std::string json = "[";
  for (const auto& text : texts) json += (json.size() > 1 ? ", " : "") + json_string(text);
  return json + "]";
}

}  // namespace finch::agent
