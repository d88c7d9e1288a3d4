#include "search/search_space.hpp"

#include <charconv>
#include <cmath>
#include <format>

#include "search/cost_model.hpp"
#include "search/custom_space.hpp"
#include "search/mobilenet_space.hpp"
#include "search/nasbench201_space.hpp"
#include "search/shufflenet_space.hpp"
#include "search/workload.hpp"

namespace finch::search {
namespace {

constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";

}  // namespace

bool SearchSpace::valid(const Genotype& genotype) const {
  const auto all = decisions();
  if (genotype.size() != all.size()) return false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (genotype[i] < 0 || static_cast<std::size_t>(genotype[i]) >= all[i].choices.size()) return false;
  }
  return true;
}

std::vector<double> SearchSpace::features(const Genotype& genotype) const {
  const auto network = decode(genotype);
  if (!network) return {};
  const Cost cost = cost_of(*network);
  const auto logarithm = [](std::int64_t count) { return std::log(1.0 + static_cast<double>(count)); };
  return {logarithm(cost.parameters), logarithm(cost.macs), logarithm(cost.peak_activation_bytes),
          static_cast<double>(network->nodes.size())};
}

std::vector<double> SearchSpace::workload(const Genotype& genotype) const {
  const auto network = decode(genotype);
  return network ? workload_of(*network) : std::vector<double>();
}

Genotype SearchSpace::smallest() const {
  return canonical(Genotype(decisions().size(), 0));
}

Genotype SearchSpace::largest() const {
  Genotype genotype;
  for (const Decision& decision : decisions()) genotype.push_back(static_cast<int>(decision.choices.size()) - 1);
  return canonical(genotype);
}

Genotype SearchSpace::random(std::mt19937_64& generator) const {
  Genotype genotype;
  for (const Decision& decision : decisions()) {
    // Not std::uniform_int_distribution: its results differ between standard libraries.
    genotype.push_back(static_cast<int>(generator() % decision.choices.size()));
  }
  return canonical(genotype);
}

std::expected<std::unique_ptr<SearchSpace>, Error> make_search_space(const SpaceConfig& config) {
  if (config.custom) return make_custom_space(config);
  if (config.name == "mobilenet") return make_mobilenet_space(config);
  if (config.name == "shufflenet") return make_shufflenet_space(config);
  if (config.name == "nasbench201") return make_nasbench201_space(config);
  return std::unexpected(
      Error{std::format("there is no search space '{}'; known: mobilenet, shufflenet, nasbench201", config.name)});
}

std::vector<std::string> search_space_names() {
  return {"mobilenet", "shufflenet", "nasbench201"};
}

std::string to_string(const Genotype& genotype) {
  std::string text;
  for (const int choice : genotype) text += (text.empty() ? "" : ",") + std::to_string(choice);
  return text;
}

std::expected<Genotype, Error> parse_genotype(std::string_view text) {
  Genotype genotype;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    int choice = 0;
    const auto [next, error] = std::from_chars(at, end, choice);
    if (error != std::errc() || choice < 0 || (next != end && *next != ',')) {
      return std::unexpected(
          Error{std::format("'{}' is no genotype; expected numbers with commas, as in 0,2,1", text)});
    }
    genotype.push_back(choice);
    if (next == end) return genotype;
    at = next + 1;
  }
}

std::string to_digits(const Genotype& genotype) {
  std::string text;
  for (const int choice : genotype) text += kDigits.at(static_cast<std::size_t>(choice));
  return text;
}

std::expected<Genotype, Error> parse_digits(std::string_view text) {
  Genotype genotype;
  for (const char digit : text) {
    const std::size_t choice = kDigits.find(digit);
    if (choice == std::string_view::npos)
      return std::unexpected(Error{std::format("'{}' is no genotype of digits", text)});
    genotype.push_back(static_cast<int>(choice));
  }
  return genotype;
}

}  // namespace finch::search
