// What the search costs a campaign besides its evaluations: decoding a genotype, and one ask with its tell after a
// given number of evaluations.
#include <benchmark/benchmark.h>

#include <cmath>

#include "search/cost_model.hpp"
#include "search/pareto_front.hpp"
#include "search/search_algorithm.hpp"

namespace finch::search {
namespace {

std::unique_ptr<SearchSpace> mobilenet(std::int64_t size) {
  return *make_search_space({.image = {3, size, size}, .classes = 10});
}

void decode_and_cost(benchmark::State& state) {
  const auto space = mobilenet(state.range(0));
  std::mt19937_64 generator(1);
  for (auto _ : state) benchmark::DoNotOptimize(cost_of(*space->decode(space->random(generator))));
}
BENCHMARK(decode_and_cost)->Arg(28)->Arg(224);

Outcome evaluate(const Genotype& genotype) {
  double cost = 1, error = 0;
  for (std::size_t i = 0; i < genotype.size(); ++i) {
    cost += genotype[i];
    error += 1.0 / (1.0 + genotype[i] * static_cast<double>(i % 3 + 1));
  }
  return {.objectives = {error, cost}};
}

// Every iteration makes the history one longer; the count of iterations is fixed so that its length stays near the
// argument.
void ask_and_tell(benchmark::State& state, const char* algorithm_name) {
  const auto space = mobilenet(28);
  const auto algorithm = *make_search_algorithm({.name = algorithm_name}, *space);
  for (const Proposal& proposal : algorithm->ask(static_cast<std::size_t>(state.range(0)))) {
    algorithm->tell(proposal.id, evaluate(proposal.genotype));
  }
  for (auto _ : state) {
    for (const Proposal& proposal : algorithm->ask(1)) algorithm->tell(proposal.id, evaluate(proposal.genotype));
  }
}
BENCHMARK_CAPTURE(ask_and_tell, nsga2, "nsga2")->Arg(100)->Arg(1000)->Arg(10000)->Iterations(100);
BENCHMARK_CAPTURE(ask_and_tell, random, "random")->Arg(100)->Arg(1000)->Arg(10000)->Iterations(100);

BENCHMARK_CAPTURE(ask_and_tell, unsga3, "unsga3")->Arg(100)->Arg(1000)->Iterations(100);
BENCHMARK_CAPTURE(ask_and_tell, aging, "aging")->Arg(100)->Arg(1000)->Iterations(100);

// As above, in a space that is searched by evolution on the models and in one that is enumerated.
void ask_and_tell_surrogate(benchmark::State& state, const char* space_name) {
  const auto space = *make_search_space({.name = space_name, .image = {3, 32, 32}, .classes = 10});
  const auto algorithm = *make_search_algorithm({.name = "surrogate"}, *space);
  for (const Proposal& proposal : algorithm->ask(static_cast<std::size_t>(state.range(0)))) {
    algorithm->tell(proposal.id, evaluate(proposal.genotype));
  }
  for (auto _ : state) {
    for (const Proposal& proposal : algorithm->ask(1)) algorithm->tell(proposal.id, evaluate(proposal.genotype));
  }
}
BENCHMARK_CAPTURE(ask_and_tell_surrogate, mobilenet, "mobilenet")
    ->Arg(50)
    ->Arg(100)
    ->Arg(250)
    ->Arg(500)
    ->Arg(1000)
    ->Iterations(50)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask_and_tell_surrogate, nasbench201, "nasbench201")
    ->Arg(50)
    ->Arg(100)
    ->Arg(250)
    ->Arg(500)
    ->Arg(1000)
    ->Iterations(50)
    ->Unit(benchmark::kMillisecond);

void hypervolume_of_a_front(benchmark::State& state) {
  std::vector<std::vector<double>> points;
  for (int i = 0; i < 100; ++i) {
    points.push_back({std::cos(i / 100.0), std::sin(i / 100.0)});
    if (state.range(0) == 3) points.back().push_back(static_cast<double>(i * 37 % 100) / 100);
  }
  const std::vector<double> reference(static_cast<std::size_t>(state.range(0)), 2.0);
  for (auto _ : state) benchmark::DoNotOptimize(hypervolume(points, reference));
}
BENCHMARK(hypervolume_of_a_front)->Arg(2)->Arg(3);

}  // namespace
}  // namespace finch::search
