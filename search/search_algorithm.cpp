#include "search/search_algorithm.hpp"

#include <cassert>
#include <format>
#include <utility>

#include "search/aging_evolution.hpp"
#include "search/nsga2.hpp"
#include "search/random_search.hpp"
#include "search/surrogate_search.hpp"
#include "search/unsga3.hpp"

namespace finch::search {

std::expected<std::unique_ptr<SearchAlgorithm>, Error> make_search_algorithm(const AlgorithmConfig& config,
                                                                             const SearchSpace& space) {
  if (config.objectives == 0) return std::unexpected(Error{"a search needs at least one objective"});
  if (config.population < 4) {
    return std::unexpected(Error{std::format("a population of {} is too small; use at least 4", config.population)});
  }
  for (const auto& [name, probability] : {std::pair{"crossover_probability", config.crossover_probability},
                                          std::pair{"mutation_probability", config.mutation_probability}}) {
    if (!(probability >= 0 && probability <= 1)) {
      return std::unexpected(Error{std::format("{} is {}; it must lie between 0 and 1", name, probability)});
    }
  }
  const std::vector<std::string> proxies = proxy_names();
  if (std::ranges::find(proxies, config.proxy) == proxies.end())
    return std::unexpected(Error{std::format("there is no proxy '{}'; known: none, synflow", config.proxy)});
  assert(!space.decisions().empty());
  if (config.name == "random") return std::make_unique<RandomSearch>(config, space);
  if (config.name == "aging") return std::make_unique<AgingEvolution>(config, space);
  if (config.name == "unsga3") {
    if (config.population < config.objectives) {
      return std::unexpected(
          Error{std::format("unsga3 needs a population of at least {}, one an objective", config.objectives)});
    }
    return std::make_unique<UNsga3>(config, space);
  }
  if (config.name == "nsga2") return std::make_unique<Nsga2>(config, space);
  if (config.name == "surrogate") return std::make_unique<SurrogateSearch>(config, space);
  std::string known;
  for (const std::string& name : search_algorithm_names()) known += (known.empty() ? "" : ", ") + name;
  return std::unexpected(Error{std::format("there is no search algorithm '{}'; known: {}", config.name, known)});
}

std::vector<std::string> search_algorithm_names() {
  return {"surrogate", "nsga2", "unsga3", "aging", "random"};
}

std::vector<std::string> proxy_names() {
  return {"none", "synflow"};
}

}  // namespace finch::search
