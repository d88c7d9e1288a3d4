// A search space: decisions, and how a vector of choices becomes a network. Implementations are immutable after
// construction and safe to share between threads.
#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "search/custom_space_config.hpp"
#include "search/error.hpp"
#include "search/network.hpp"

namespace finch::search {

// One small integer a decision, 0 <= genotype[i] < decisions()[i].choices.size().
using Genotype = std::vector<int>;

struct Decision {
  std::string name;                  // "stage1.depth", "stage1.block0.kernel_size"
  std::vector<std::string> choices;  // what each value means: "3", "5", "7"
};

// All that a space needs to know about the task.
struct SpaceConfig {
  std::string name = "mobilenet";
  TensorShape image;  // as in the data set
  std::int64_t classes = 0;
  std::optional<CustomSpaceConfig> custom = {};  // a space of the user's own, which `name` is the name of
};

class SearchSpace {
 public:
  virtual ~SearchSpace() = default;

  virtual std::string_view name() const = 0;
  virtual std::span<const Decision> decisions() const = 0;
  // Same network, same canonical genotype: decisions that have no effect (blocks beyond the depth) are set to 0.
  // REQUIRES: valid(genotype).
  virtual Genotype canonical(const Genotype& genotype) const = 0;
  // What a model of the space may learn from besides the decisions: counts, depths, paths. As many for each genotype,
  // of any scale. By default the network's size: parameters, MACs, activations (their logarithms), nodes; nothing for a
  // space that cannot decode. REQUIRES: valid(genotype).
  virtual std::vector<double> features(const Genotype& genotype) const;
  // What a device runs of a genotype that need not be canonical, in parts whose costs add up: a runtime drops what
  // leads to no output, and runs what is fed with zeros. As many for each genotype; by default of the decoded network,
  // nothing for a space that cannot decode. REQUIRES: valid(genotype).
  virtual std::vector<double> workload(const Genotype& genotype) const;
  virtual std::expected<Network, Error> decode(const Genotype& genotype) const = 0;

  bool valid(const Genotype& genotype) const;
  Genotype smallest() const;  // first choice everywhere: the spaces list choices from cheap to costly
  Genotype largest() const;   // last choice everywhere
  Genotype random(std::mt19937_64& generator) const;  // uniform over decisions, canonical
};

// Errors: unknown name (names the known ones), a description with a mistake, an image size or class count that the
// space cannot serve.
std::expected<std::unique_ptr<SearchSpace>, Error> make_search_space(const SpaceConfig& config);
std::vector<std::string> search_space_names();  // those built in

// "0,2,1": how a genotype is written in files and on the wire.
std::string to_string(const Genotype& genotype);
std::expected<Genotype, Error> parse_genotype(std::string_view text);

// "021": how it is written in tables, a digit (0-9, then a-z) a decision. REQUIRES: no choice beyond 35.
std::string to_digits(const Genotype& genotype);
std::expected<Genotype, Error> parse_digits(std::string_view text);

}  // namespace finch::search
