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

std::expected<std::vector<search::Network>, Error> SubnetSampler::next(int random) {
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
  for (int i = 0; i < random; ++i) {
    auto other = draw(generator_);
    if (!other) return std::unexpected(other.error());
    networks.push_back(std::move(other->network));
  }
  return networks;
}

std::expected<std::vector<search::Network>, Error> SubnetSampler::spread(int count) {
  if (bounds_.empty()) {
    std::mt19937_64 generator(1);
    std::vector<double> macs;
    for (int i = 0; i < kSmallestOf; ++i) {
      auto some = draw(generator);
      if (!some) return std::unexpected(some.error());
      macs.push_back(static_cast<double>(some->macs));
    }
    std::ranges::sort(macs);
    bounds_ = {macs.front(), macs.back()};
  }
  std::vector<search::Network> networks;
  for (int i = count - 1; i >= 0; --i) {
    const double part = (i + std::generate_canonical<double, 53>(generator_)) / count;
    const double wanted = bounds_[0] + part * (bounds_[1] - bounds_[0]);
    auto best = draw(generator_);
    for (int k = 1; best && k < 24; ++k) {
      auto other = draw(generator_);
      if (other &&
          std::abs(static_cast<double>(other->macs) - wanted) < std::abs(static_cast<double>(best->macs) - wanted))
        best = std::move(other);
    }
    if (!best) return std::unexpected(best.error());
    networks.push_back(std::move(best->network));
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
