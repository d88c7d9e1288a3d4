#include "search/proposal_log.hpp"

#include <cassert>
#include <limits>

namespace finch::search {
namespace {

constexpr int kRandomTries = 2000;

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
  Proposal proposal{.id = genotypes_.size() + 1, .genotype = genotype, .parent = std::nullopt};
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  for (const CandidateId id : evaluated_) {
    const std::size_t count = differences(genotype, this->genotype(id));
    if (count < fewest) {
      fewest = count;
      proposal.parent = id;
    }
  }
  genotypes_.push_back(genotype);
  seen_.insert(genotype);
  open_.insert(proposal.id);
  return proposal;
}

void ProposalLog::tell(CandidateId id, const Outcome& outcome) {
  [[maybe_unused]] const std::size_t open = open_.erase(id);
  assert(open == 1 && "told without being asked, or twice");
  if (!outcome.objectives.empty()) evaluated_.push_back(id);
}

std::optional<Genotype> ProposalLog::new_random(std::mt19937_64& generator) const {
  for (int i = 0; i < kRandomTries; ++i) {
    Genotype genotype = space_.random(generator);
    if (is_new(genotype)) return genotype;
  }
  return std::nullopt;
}

}  // namespace finch::search
