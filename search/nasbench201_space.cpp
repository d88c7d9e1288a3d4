#include "search/nasbench201_space.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <map>
#include <ranges>

#include "search/image_task.hpp"
#include "search/nasbench201_network.hpp"

namespace finch::search {
namespace {

constexpr int kNone = 0, kSkip = 1, kPool = 4, kOperations = 5;
constexpr int kInput = 0, kOutput = 3, kNodes = 4;

struct Edge {
  int from, to, operation;
  auto operator<=>(const Edge&) const = default;
};
using Graph = std::vector<Edge>;  // sorted; two edges may join the same nodes

constexpr std::array<std::pair<int, int>, 6> kEdges = {{{0, 1}, {0, 2}, {1, 2}, {0, 3}, {1, 3}, {2, 3}}};

// Edges that no path from the input to the output takes.
bool remove_dead(Graph& graph) {
  std::array<bool, kNodes> reached = {true}, leads = {};
  leads[kOutput] = true;
  for (int round = 0; round < kNodes; ++round) {
    for (const Edge& edge : graph) {
      if (reached[static_cast<std::size_t>(edge.from)]) reached[static_cast<std::size_t>(edge.to)] = true;
      if (leads[static_cast<std::size_t>(edge.to)]) leads[static_cast<std::size_t>(edge.from)] = true;
    }
  }
  return std::erase_if(graph, [&](const Edge& edge) {
           return !reached[static_cast<std::size_t>(edge.from)] || !leads[static_cast<std::size_t>(edge.to)];
         }) > 0;
}

// An inner node whose only input is a skip is that input; an inner node whose only reader takes it by a skip is a part
// of the reader's sum.
bool merge_one(Graph& graph) {
  for (int node = 1; node < kOutput; ++node) {
    const auto merge = [&](int Edge::* here, int Edge::* there) {
      if (std::ranges::count(graph, node, here) != 1) return false;
      const auto edge = std::ranges::find(graph, node, here);
      if (edge->operation != kSkip) return false;
      const int other = (*edge).*there;
      graph.erase(edge);
      for (Edge& rest : graph) {
        if (rest.*there == node) rest.*there = other;
      }
      return true;
    };
    if (merge(&Edge::to, &Edge::from) || merge(&Edge::from, &Edge::to)) return true;
  }
  return false;
}

Graph reduce(const Genotype& genotype) {
  Graph graph;
  for (std::size_t i = 0; i < kEdges.size(); ++i) {
    if (genotype[i] != kNone) graph.push_back({kEdges[i].first, kEdges[i].second, genotype[i]});
  }
  while (remove_dead(graph) || merge_one(graph)) {
  }
  Graph swapped = graph;
  for (Edge& edge : swapped) {
    for (int* node : {&edge.from, &edge.to}) *node = *node == 1 ? 2 : *node == 2 ? 1 : *node;
  }
  std::ranges::sort(graph);
  std::ranges::sort(swapped);
  return std::min(graph, swapped);
}

// Of one path through the reduced graph: how often each operation is on it.
void count_paths(const Graph& graph, int node, std::array<int, kOperations>& on_path,
                 std::vector<std::array<int, kOperations>>& paths) {
  if (node == kOutput) return paths.push_back(on_path);
  for (const Edge& edge : graph) {
    if (edge.from != node) continue;
    ++on_path[static_cast<std::size_t>(edge.operation)];
    count_paths(graph, edge.to, on_path, paths);
    --on_path[static_cast<std::size_t>(edge.operation)];
  }
}

class NasBench201Space : public SearchSpace {
 public:
  explicit NasBench201Space(SpaceConfig config) : config_(std::move(config)) {
    const std::vector<std::string> operations = {"none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3",
                                                 "avg_pool_3x3"};
    for (const auto& [from, to] : kEdges) decisions_.push_back({std::format("edge{}_{}", from, to), operations});
    std::map<Graph, std::size_t> first;
    std::vector<std::size_t> order;
    std::vector<Graph> graphs;
    for (std::size_t i = 0; i < kGenotypes; ++i) {
      order.push_back(i);
      graphs.push_back(reduce(genotype(i)));
    }
    std::ranges::stable_sort(order, {}, [](std::size_t i) {
      return kEdges.size() - static_cast<std::size_t>(std::ranges::count(genotype(i), kNone));
    });
    canonical_.resize(kGenotypes);
    for (const std::size_t i : order) canonical_[i] = first.try_emplace(graphs[i], i).first->second;
  }

  std::string_view name() const override { return "nasbench201"; }
  std::span<const Decision> decisions() const override { return decisions_; }
  Genotype canonical(const Genotype& genotype) const override { return this->genotype(canonical_[index(genotype)]); }

  // Of the reduced graph: the count of each operation, of nodes and of paths; of the paths from input to output (after
  // White 2021, BANANAS) the shortest, the longest and the mean, in operations of each kind.
  std::vector<double> features(const Genotype& genotype) const override {
    const Graph graph = reduce(genotype);
    std::vector<double> values(kOperations - 1, 0.0);
    for (const Edge& edge : graph) values[static_cast<std::size_t>(edge.operation - 1)] += 1;
    std::array<bool, kNodes> inner = {};
    for (const Edge& edge : graph) inner[static_cast<std::size_t>(edge.to)] = true;
    values.push_back((inner[1] ? 1.0 : 0.0) + (inner[2] ? 1.0 : 0.0));
    std::array<int, kOperations> on_path = {};
    std::vector<std::array<int, kOperations>> paths;
    count_paths(graph, kInput, on_path, paths);
    values.push_back(static_cast<double>(paths.size()));
    const auto extremes = [&](auto length) {
      const auto [low, high] = std::ranges::minmax(paths | std::views::transform(length));
      values.push_back(low);
      values.push_back(high);
    };
    if (paths.empty()) {
      values.insert(values.end(), 12, 0.0);
    } else {
      extremes([](const auto& path) { return path[2] + path[3]; });
      extremes([](const auto& path) { return path[2] + path[3] + path[kPool]; });
      extremes([](const auto& path) { return path[3]; });
      // A convolution of 3 x 3 or a pooling widens what an output sees.
      double convolutions = 0, widenings = 0;
      for (const auto& path : paths) {
        convolutions += path[2] + path[3];
        widenings += path[3] + path[kPool];
      }
      values.push_back(convolutions / static_cast<double>(paths.size()));
      values.push_back(widenings / static_cast<double>(paths.size()));
      for (std::size_t operation = 1; operation < kOperations; ++operation) {
        double sum = 0;
        for (const auto& path : paths) sum += path[operation];
        values.push_back(sum / static_cast<double>(paths.size()));
      }
    }
    return values;
  }

  // One entry an edge and operation, then their sums by operation.
  std::vector<double> workload(const Genotype& genotype) const override {
    std::array<bool, kNodes> leads = {}, reached = {true};
    leads[kOutput] = true;
    for (std::size_t i = 0; i < kEdges.size(); ++i) {
      const auto [from, to] = kEdges[i];
      if (genotype[i] != kNone && reached[static_cast<std::size_t>(from)]) reached[static_cast<std::size_t>(to)] = true;
    }
    std::vector<double> values((kEdges.size() + 1) * (kOperations - 1), 0.0);
    if (!reached[kOutput]) return values;            // a constant
    for (std::size_t i = kEdges.size(); i-- > 0;) {  // an edge's end comes before its begin
      const auto [from, to] = kEdges[i];
      if (genotype[i] == kNone || !leads[static_cast<std::size_t>(to)]) continue;
      leads[static_cast<std::size_t>(from)] = true;
      const auto operation = static_cast<std::size_t>(genotype[i] - 1);
      values[i * (kOperations - 1) + operation] = 1;
      values[kEdges.size() * (kOperations - 1) + operation] += 1;
    }
    return values;
  }

  std::expected<Network, Error> decode(const Genotype& genotype) const override {
    if (!valid(genotype)) {
      return std::unexpected(
          Error{std::format("genotype {} does not belong to the space nasbench201", to_string(genotype))});
    }
    return nasbench201_network(config_.image, config_.classes, canonical(genotype));
  }

 private:
  static constexpr std::size_t kGenotypes = 15'625;

  static Genotype genotype(std::size_t index) {
    Genotype result(kEdges.size());
    for (std::size_t i = kEdges.size(); i-- > 0; index /= kOperations)
      result[i] = static_cast<int>(index % kOperations);
    return result;
  }
  static std::size_t index(const Genotype& genotype) {
    std::size_t result = 0;
    for (const int choice : genotype) result = result * kOperations + static_cast<std::size_t>(choice);
    return result;
  }

  SpaceConfig config_;
  std::vector<Decision> decisions_;
  std::vector<std::size_t> canonical_;  // by genotype, first edge most significant
};

}  // namespace

std::expected<std::unique_ptr<SearchSpace>, Error> make_nasbench201_space(const SpaceConfig& config) {
  if (auto checked = check_task("nasbench201", config, 8); !checked) return std::unexpected(checked.error());
  return std::make_unique<NasBench201Space>(config);
}

}  // namespace finch::search
