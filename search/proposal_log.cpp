#include "search/proposal_log.hpp"

#include <cassert>
#include <cmath>
#include <limits>

namespace finch::search {
namespace {

constexpr int kUniformTries = 1000;
constexpr int kShrinkingTries = 1000;

std::size_t differences(const Genotype& a, const Genotype& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

}  // namespace

bool ProposalLog::is_new(const Genotype& genotype) const {
  return !seen_.contains(genotype) && (!admissible_ || admissible_(genotype));
}

Proposal ProposalLog::propose(const Genotype& genotype) {
  Proposal proposal{.genotype = genotype, .parent = std::nullopt};
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  for (const CandidateId id : evaluated_) {
    const std::size_t count = differences(genotype, this->genotype(id));
    if (count < fewest) {
      fewest = count;
      proposal.parent = id;
    }
  }
  proposal.id = record(genotype);
  return proposal;
}

CandidateId ProposalLog::record(const Genotype& genotype) {
  genotypes_.push_back(genotype);
  seen_.insert(genotype);
  open_.insert(genotypes_.size());
  return genotypes_.size();
}

void ProposalLog::tell(CandidateId id, const Outcome& outcome) {
  [[maybe_unused]] const std::size_t open = open_.erase(id);
  assert(open == 1 && "told without being asked, or twice");
  if (outcome.evaluated()) evaluated_.push_back(id);
}

std::optional<Genotype> ProposalLog::new_random(std::mt19937_64& generator) const {
  for (int i = 0; i < kUniformTries; ++i) {
    Genotype genotype = space_.random(generator);
    if (is_new(genotype)) return genotype;
  }
  const auto decisions = space_.decisions();
  for (int i = 0; i < kShrinkingTries; ++i) {
    const double scale = 1.0 - static_cast<double>(i) / kShrinkingTries;
    Genotype genotype;
    for (const Decision& decision : decisions) {
      const auto choices = std::ceil(scale * static_cast<double>(decision.choices.size()));
      genotype.push_back(static_cast<int>(generator() % static_cast<std::uint64_t>(choices)));
    }
    genotype = space_.canonical(genotype);
    if (is_new(genotype)) return genotype;
  }
  std::vector<const Genotype*> left;
  for (const Genotype& candidate : candidates_) {
    if (is_new(candidate)) left.push_back(&candidate);
  }
  if (!left.empty()) return *left[static_cast<std::size_t>(generator() % left.size())];
  return std::nullopt;
}

}  // namespace finch::search
