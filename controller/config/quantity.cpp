#include "controller/config/quantity.hpp"

#include <charconv>
#include <cmath>
#include <format>
#include <span>
#include <utility>

namespace finch::controller {
namespace {

using Unit = std::pair<const char*, double>;

std::expected<double, Error> parse(const std::string& text, std::span<const Unit> units, const char* example) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' '));
  if (error == std::errc() && std::isfinite(number)) {
    for (const auto& [name, factor] : units) {
      if (unit == name) return number * factor;
    }
  }
  return std::unexpected(
      Error{std::format("'{}' is not understood; write it as in {}", text, example), ExitCode::usage});
}

std::expected<double, Error> positive(std::expected<double, Error> value, const std::string& text) {
  if (value && *value <= 0) return std::unexpected(Error{std::format("'{}' is not above 0", text), ExitCode::usage});
  return value;
}

}  // namespace

std::expected<double, Error> parse_milliseconds(const std::string& text) {
  static constexpr Unit kUnits[] = {{"us", 1e-3}, {"ms", 1}, {"s", 1e3}};
  return positive(parse(text, kUnits, "20ms, 800us or 1.5s"), text);
}

std::expected<double, Error> parse_bytes(const std::string& text) {
  static constexpr Unit kUnits[] = {
      {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1024.0 * 1024}, {"GiB", 1024.0 * 1024 * 1024}};
  return positive(parse(text, kUnits, "64MB or 64MiB"), text);
}

std::expected<double, Error> parse_share(const std::string& text) {
  static constexpr Unit kUnits[] = {{"", 1}, {"%", 0.01}};
  auto share = parse(text, kUnits, "0.9 or 90%");
  if (share && (*share < 0 || *share > 1))
    return std::unexpected(Error{std::format("'{}' is outside 0 .. 1", text), ExitCode::usage});
  return share;
}

}  // namespace finch::controller
