#include "protocol/input_shape.hpp"

#include <charconv>
#include <cstdint>
#include <format>
#include <ranges>
#include <string_view>

namespace finch::protocol {

std::expected<InputShape, Error> parse_input_shape(const std::string& text) {
  const auto bad = [&text] { return std::unexpected(Error{std::format("--shape {}: give NAME=1,3,224,224", text)}); };
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) return bad();
  InputShape shape;
  shape.set_name(text.substr(0, equals));
  for (const auto part : std::views::split(std::string_view(text).substr(equals + 1), ',')) {
    const std::string_view digits(part);
    std::int64_t extent = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), extent);
    if (error != std::errc() || end != digits.data() + digits.size() || extent < 1) return bad();
    shape.add_extents(extent);
  }
  return shape;
}

}  // namespace finch::protocol
