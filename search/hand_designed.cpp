#include "search/hand_designed.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>

namespace finch::search {
namespace {

constexpr std::string_view kLast;  // the last choice: as deep, as large as the space goes
constexpr std::string_view kWidth = "width_multiplier";

struct Choice {
  std::string_view decision;  // the end of its name
  std::string_view value;
};

struct HandDesigned {
  std::string_view name, space;
  std::array<Choice, 6> choices;
};

constexpr HandDesigned kNetworks[] = {
    {.name = "mobilenet_v2",
     .space = "mobilenet",
     .choices = {{{"resolution", kLast},
                  {"activation", "relu"},
                  {"depth", kLast},
                  {"squeeze_excite", "no"},
                  {"kernel_size", "3"},
                  {"expand_ratio", "6"}}}},
    {.name = "shufflenet_v2",
     .space = "shufflenet",
     .choices = {{{"resolution", kLast}, {"depth", kLast}, {"unit", "3"}, {"channel_ratio", "1"}}}},
};

const HandDesigned& network_named(std::string_view name) {
  return *std::ranges::find(kNetworks, name, &HandDesigned::name);
}

double number_of(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::vector<std::string> hand_designed_names() {
  std::vector<std::string> names;
  for (const HandDesigned& network : kNetworks) names.emplace_back(network.name);
  return names;
}

std::string space_of_hand_designed(std::string_view network) {
  return std::string(network_named(network).space);
}

std::expected<Genotype, Error> hand_designed(std::string_view network, double width, const SearchSpace& space) {
  const auto& wanted = network_named(network).choices;
  Genotype genotype;
  for (const Decision& decision : space.decisions()) {
    const auto& choices = decision.choices;
    std::size_t chosen = choices.size() - 1;
    if (decision.name == kWidth) {
      const auto found = std::ranges::find(choices, width, number_of);
      if (found == choices.end()) {
        std::string known;
        for (const std::string& choice : choices) known += (known.empty() ? "" : ", ") + choice;
        return std::unexpected(Error{
            std::format("{} with width {}: the space {} has the widths {}", network, width, space.name(), known)});
      }
      chosen = static_cast<std::size_t>(found - choices.begin());
    } else {
      const auto choice = std::ranges::find_if(
          wanted, [&](const Choice& one) { return !one.decision.empty() && decision.name.ends_with(one.decision); });
      if (choice != wanted.end() && choice->value != kLast)
        chosen = static_cast<std::size_t>(std::ranges::find(choices, choice->value) - choices.begin());
    }
    genotype.push_back(static_cast<int>(chosen));
  }
  if (!space.valid(genotype))
    return std::unexpected(Error{std::format("the space {} does not hold {}", space.name(), network)});
  return space.canonical(genotype);
}

}  // namespace finch::search
