// Which networks of a space learn together in one step of a supernet, within limits. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

// Of networks that a supernet is trained for; 0: none.
struct CostLimits {
  double parameters = 0;
  double macs = 0;
  double peak_activation_bytes = 0;

  bool keep(const search::Cost& cost) const;
};

enum class SubnetSampling { sandwich, spread };

class SubnetSampler {
 public:
  // `space` must outlive this.
  SubnetSampler(const search::SearchSpace& space, const CostLimits& limits, std::uint64_t seed);

  // `count` networks, a large one first. By the sandwich rule (Yu and Huang 2019) the largest, the smallest and random
  // others; where limits cut the space there is no largest, and the one with the most MACs of eight random ones is it.
  // Spread, one from each of `count` equal parts of the range of MACs that a sample of the space has: of MACs drawn
  // there the nearest of a few. REQUIRES: count >= 2. Error: no network of a great sample keeps the limits.
  std::expected<std::vector<search::Network>, Error> next(SubnetSampling sampling, int count);

  // Where its random numbers stand, and back there.
  std::string position() const;
  void restore(const std::string& position);

 private:
  struct Sampled {
    search::Network network;
    std::int64_t macs = 0;
  };
  std::expected<std::vector<search::Network>, Error> sandwich(int count);
  std::expected<std::vector<search::Network>, Error> spread(int count);
  std::expected<Sampled, Error> draw(std::mt19937_64& generator) const;
  std::expected<search::Network, Error> find_smallest() const;

  const search::SearchSpace& space_;
  CostLimits limits_;
  std::mt19937_64 generator_;
  std::expected<search::Network, Error> smallest_;
  std::int64_t least_macs_ = 0, most_macs_ = 0;  // of a sample; 0: not drawn yet
};

}  // namespace finch::trainer
