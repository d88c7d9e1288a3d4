#include "trainer/subnet_sampler.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

namespace finch::trainer {
namespace {

constexpr int kTries = 20'000;  // a decode takes microseconds
constexpr int kSmallestOf = 200;
constexpr int kLargeOf = 8;
constexpr int kNearestOf = 24;

}  // namespace

bool CostLimits::keep(const search::Cost& cost) const {
  const auto within = [](double limit, std::int64_t value) {
    return limit <= 0 || static_cast<double>(value) <= limit;
  };
  return within(parameters, cost.parameters) && within(macs, cost.macs) &&
         within(peak_activation_bytes, cost.peak_activation_bytes);
}

SubnetSampler::SubnetSampler(const search::SearchSpace& space, const CostLimits& limits, std::uint64_t seed)
    : space_(space), limits_(limits), generator_(seed), smallest_(find_smallest()) {}

std::expected<SubnetSampler::Sampled, Error> SubnetSampler::draw(std::mt19937_64& generator) const {
  for (int i = 0; i < kTries; ++i) {
    auto network = space_.decode(space_.random(generator));
    if (!network) continue;
    const search::Cost cost = search::cost_of(*network);
    if (limits_.keep(cost)) return Sampled{std::move(*network), cost.macs};
  }
  return std::unexpected(Error{"no network of the space keeps the constraints; loosen them"});
}

std::expected<search::Network, Error> SubnetSampler::find_smallest() const {
  if (auto smallest = space_.decode(space_.smallest()); smallest && limits_.keep(search::cost_of(*smallest)))
    return std::move(*smallest);
  std::mt19937_64 generator(1);
  auto smallest = draw(generator);
  for (int i = 1; smallest && i < kSmallestOf; ++i) {
    auto other = draw(generator);
    if (other && other->macs < smallest->macs) smallest = std::move(other);
  }
  return smallest.transform([](Sampled& sampled) { return std::move(sampled.network); });
}

std::expected<std::vector<search::Network>, Error> SubnetSampler::next(SubnetSampling sampling, int count) {
  return sampling == SubnetSampling::spread ? spread(count) : sandwich(count);
}

std::expected<std::vector<search::Network>, Error> SubnetSampler::sandwich(int count) {
  if (!smallest_) return std::unexpected(smallest_.error());
  std::vector<search::Network> networks;
  auto large = space_.decode(space_.largest());
  if (large && limits_.keep(search::cost_of(*large))) {
    networks.push_back(std::move(*large));
  } else {
    auto largest = draw(generator_);
    for (int i = 1; largest && i < kLargeOf; ++i) {
      auto other = draw(generator_);
      if (other && other->macs > largest->macs) largest = std::move(other);
    }
    if (!largest) return std::unexpected(largest.error());
    networks.push_back(std::move(largest->network));
  }
  networks.push_back(*smallest_);
  for (int i = 2; i < count; ++i) {
    auto other = draw(generator_);
    if (!other) return std::unexpected(other.error());
    networks.push_back(std::move(other->network));
  }
  return networks;
}

std::expected<std::vector<search::Network>, Error> SubnetSampler::spread(int count) {
  if (most_macs_ == 0) {
    std::mt19937_64 generator(1);
    for (int i = 0; i < kSmallestOf; ++i) {
      const auto some = draw(generator);
      if (!some) return std::unexpected(some.error());
      most_macs_ = std::max(most_macs_, some->macs);
      least_macs_ = i == 0 ? some->macs : std::min(least_macs_, some->macs);
    }
  }
  std::vector<search::Network> networks;
  for (int part = count - 1; part >= 0; --part) {
    const double at = (part + std::generate_canonical<double, 53>(generator_)) / count;
    const double wanted = std::lerp(static_cast<double>(least_macs_), static_cast<double>(most_macs_), at);
    const auto distance = [&](const Sampled& sampled) { return std::abs(static_cast<double>(sampled.macs) - wanted); };
    auto nearest = draw(generator_);
    for (int i = 1; nearest && i < kNearestOf; ++i) {
      auto other = draw(generator_);
      if (other && distance(*other) < distance(*nearest)) nearest = std::move(other);
    }
    if (!nearest) return std::unexpected(nearest.error());
    networks.push_back(std::move(nearest->network));
  }
  return networks;
}

std::string SubnetSampler::position() const {
  std::ostringstream text;
  text << generator_;
  return text.str();
}

void SubnetSampler::restore(const std::string& position) {
  std::istringstream(position) >> generator_;
}

}  // namespace finch::trainer
