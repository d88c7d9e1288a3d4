#include "search/surrogate_search.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "search/variation.hpp"

namespace finch::search {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr std::size_t kInitial = 6;           // proposals before the first model
constexpr std::size_t kDesignTries = 16;      // genotypes that each of these is chosen from
constexpr std::size_t kTrainingSet = 400;     // candidates that the models learn from, at most
constexpr double kLeastCorrelation = 0.3;     // of leave-one-out predictions, below which ...
constexpr std::size_t kCorrelationFrom = 16;  // ... after so many evaluations the models are not followed
constexpr std::size_t kExploreEvery = 16;     // proposals by the models, one of which takes the greatest chance
// Quantiles of a normal distribution in the middle of eight equally likely parts.
constexpr double kDeviations[] = {-1.534, -0.887, -0.489, -0.157, 0.157, 0.489, 0.887, 1.534};
constexpr double kViolationThreshold = 0.25;  // between 0, feasible, and 0.5 and more, not

double violation_target(const Outcome& outcome) {
  if (outcome.violation <= 0 && outcome.evaluated()) return 0;
  return 0.5 + std::min(outcome.violation > 0 ? outcome.violation : 1.0, 1.0);
}

// At most 40 points of a front for three objectives, fewer for more: the boxes grow with the power of their number.
std::size_t front_limit(std::size_t objectives) {
  return objectives <= 2 ? 1000 : objectives == 3 ? 40 : 12;
}

}  // namespace

SurrogateSearch::SurrogateSearch(const AlgorithmConfig& config, const SearchSpace& space)
    : config_(config),
      space_(space),
      generator_(config.seed),
      log_(space, config.admissible, config.candidates),
      evolution_(config, space),
      encoding_(space, config.proxy == "synflow"),
      objectives_(config.objectives) {}

std::optional<Genotype> SurrogateSearch::initial() {
  while (initial_ < kInitial) {
    ++initial_;
    std::optional<Genotype> best;
    EncodedGenotypes best_encoded;
    double farthest = -1;
    for (std::size_t i = 0; i < kDesignTries; ++i) {
      // Uniform genotypes of many decisions all cost about the same: half of the tries spread over the cost.
      std::optional<Genotype> genotype = near_level(space_, uniform(generator_), generator_);
      if (i % 2 == 0 || !log_.is_new(*genotype)) genotype = log_.new_random(generator_);
      if (!genotype) break;
      EncodedGenotypes encoded = encoding_.encode(std::span(&*genotype, 1));
      double nearest = kInfinity;
      for (Eigen::Index k = 0; k < design_.size(); ++k) {
        nearest = std::min(nearest, (design_.features.row(k) - encoded.features.row(0)).squaredNorm() +
                                        (design_.one_hot.row(k) - encoded.one_hot.row(0)).squaredNorm());
      }
      if (nearest > farthest) {
        farthest = nearest;
        best = std::move(genotype);
        best_encoded = std::move(encoded);
      }
    }
    if (!best) continue;
    design_.resize(design_.size() + 1, best_encoded);
    design_.set(design_.size() - 1, best_encoded, 0);
    return best;
  }
  return std::nullopt;
}

// All that was evaluated; when that is too much, the best fronts and an even part of the rest.
std::vector<std::size_t> SurrogateSearch::training_set() const {
  std::vector<std::size_t> chosen;
  std::vector<std::vector<double>> points;
  for (std::size_t i = 0; i < told_.size(); ++i) {
    if (!told_[i].outcome.evaluated()) continue;
    chosen.push_back(i);
    points.push_back(told_[i].outcome.objectives);
  }
  if (chosen.size() <= kTrainingSet) return chosen;
  std::vector<std::size_t> order;
  for (const auto& front : non_dominated_sort(points)) {
    for (const std::size_t i : front) order.push_back(chosen[i]);
  }
  std::vector<std::size_t> kept(order.begin(), order.begin() + kTrainingSet / 2);
  const std::size_t rest = order.size() - kept.size(), wanted = kTrainingSet - kept.size();
  for (std::size_t i = 0; i < wanted; ++i) kept.push_back(order[kTrainingSet / 2 + i * rest / wanted]);
  std::ranges::sort(kept);
  return kept;
}

void SurrogateSearch::fit_models() {
  const auto decisions = static_cast<double>(encoding_.decisions());
  const std::vector<std::size_t> learnt = training_set();
  std::vector<Genotype> genotypes;
  for (const std::size_t i : learnt) genotypes.push_back(log_.genotype(told_[i].id));
  const EncodedGenotypes points = encoding_.encode(genotypes);
  for (std::size_t objective = 0; objective < config_.objectives; ++objective) {
    if (is_known_beforehand(objective)) continue;
    Model& model = objectives_[objective];
    model.rows.clear();
    std::vector<double> values;
    for (const std::size_t i : learnt) {
      model.rows[told_[i].id] = static_cast<Eigen::Index>(values.size());
      values.push_back(told_[i].outcome.objectives[objective]);
    }
    model.model.fit(points, values, decisions);
  }
  if (infeasible_ > 0) {
    if (!violation_) violation_.emplace();
    violation_->rows.clear();
    genotypes.clear();
    std::vector<double> values;
    const std::size_t first = told_.size() > kTrainingSet ? told_.size() - kTrainingSet : 0;
    for (std::size_t i = first; i < told_.size(); ++i) {
      violation_->rows[told_[i].id] = static_cast<Eigen::Index>(values.size());
      genotypes.push_back(log_.genotype(told_[i].id));
      values.push_back(violation_target(told_[i].outcome));
    }
    violation_->model.fit(encoding_.encode(genotypes), values, decisions);
  }
  fitted_at_ = told_.size();
  for (const CandidateId id : pending_) believe(id);
  learnt_ = true;
}

void SurrogateSearch::believe(CandidateId id) {
  const Genotype& genotype = log_.genotype(id);
  const EncodedGenotypes point = encoding_.encode(std::span(&genotype, 1));
  for (std::size_t i = 0; i < config_.objectives; ++i) {
    if (!is_known_beforehand(i)) objectives_[i].rows[id] = objectives_[i].model.add(point);
  }
  if (violation_) violation_->rows[id] = violation_->model.add(point);
  learnt_ = true;
}

bool SurrogateSearch::models_predict() const {
  if (evaluated_ < kCorrelationFrom) return true;
  for (std::size_t i = 0; i < config_.objectives; ++i) {
    if (!is_known_beforehand(i) && objectives_[i].model.rank_correlation() < kLeastCorrelation) return false;
  }
  return true;
}

std::optional<Genotype> SurrogateSearch::improving() {
  const bool refit = fitted_at_ == 0 || told_.size() >= fitted_at_ + std::max<std::size_t>(1, fitted_at_ / 10);
  if (refit) fit_models();
  if (!models_predict()) return evolved();
  if (enumerable_ && pool_.empty()) enumerate();
  if (enumerable_) {
    if (refit) set_pool(std::move(pool_));
  } else if (refit || pool_age_ >= 8) {
    evolve_pool();
  }
  ++pool_age_;
  if (learnt_) {
    for (std::size_t i = 0; i < config_.objectives; ++i) {
      if (!is_known_beforehand(i)) objectives_[i].model.refresh();
    }
    if (violation_) violation_->model.refresh();
    learnt_ = false;
  }
  const bool explores = ++proposed_by_model_ % kExploreEvery == 0;
  const std::vector<double> all = scores(aim(), explores);
  const auto best = std::ranges::max_element(all);
  if (best == all.end() || !(*best > 0)) return evolved();
  return pool_[static_cast<std::size_t>(best - all.begin())];
}

std::optional<Genotype> SurrogateSearch::evolved() {
  constexpr int kTries = 200;
  for (int i = 0; evolution_.has_parents() && i < kTries; ++i) {
    Genotype child = evolution_.offspring();
    if (log_.is_new(child)) return child;
  }
  return std::nullopt;
}

std::optional<Genotype> SurrogateSearch::unproposed() {
  if (enumerable_ && pool_.empty()) enumerate();
  for (const Genotype& genotype : pool_) {
    if (log_.is_new(genotype)) return genotype;
  }
  return std::nullopt;
}

std::vector<Proposal> SurrogateSearch::ask(std::size_t n) {
  std::vector<Proposal> proposals;
  while (proposals.size() < n) {
    std::optional<Genotype> genotype = initial();
    if (!genotype && evaluated_ >= 4) genotype = improving();
    if (!genotype) genotype = log_.new_random(generator_);
    if (!genotype && evaluated_ > 0) genotype = unproposed();
    if (!genotype) break;
    const Proposal& proposal = proposals.emplace_back(log_.propose(*genotype));
    pending_.insert(proposal.id);
    if (fitted_at_ > 0) believe(proposal.id);
  }
  return proposals;
}

// What is adopted stands in for as much of the initial design.
CandidateId SurrogateSearch::adopt(const Genotype& genotype) {
  ++initial_;
  const CandidateId id = log_.adopt(genotype);
  pending_.insert(id);
  return id;
}

void SurrogateSearch::tell(CandidateId id, const Outcome& outcome) {
  assert(outcome.objectives.empty() || outcome.objectives.size() == config_.objectives);
  log_.tell(id, outcome);
  evolution_.learn(log_.genotype(id), outcome);
  pending_.erase(id);
  told_.push_back({id, outcome});
  if (violation_target(outcome) > 0) ++infeasible_;
  const auto set = [&](Model& model, double value) {
    if (const auto row = model.rows.find(id); row != model.rows.end()) model.model.set(row->second, value);
  };
  if (violation_) set(*violation_, violation_target(outcome));
  if (outcome.evaluated()) {
    ++evaluated_;
    for (std::size_t i = 0; i < config_.objectives; ++i) {
      if (!is_known_beforehand(i)) set(objectives_[i], outcome.objectives[i]);
    }
  }
  learnt_ = true;
}

// --- The pool -------------------------------------------------------------------------------------------------------

void SurrogateSearch::enumerate() {
  constexpr std::size_t kGenotypes = 1 << 16, kCanonical = 8192;
  std::size_t count = 1;
  for (const Decision& decision : space_.decisions()) {
    count *= decision.choices.size();
    if (count > kGenotypes) break;
  }
  std::set<Genotype> distinct;
  for (std::size_t i = 0; count <= kGenotypes && i < count && distinct.size() <= kCanonical; ++i) {
    Genotype genotype;
    std::size_t rest = i;
    for (const Decision& decision : space_.decisions()) {
      genotype.push_back(static_cast<int>(rest % decision.choices.size()));
      rest /= decision.choices.size();
    }
    distinct.insert(space_.canonical(genotype));
  }
  enumerable_ = count <= kGenotypes && distinct.size() <= kCanonical;
  if (!enumerable_ && !config_.candidates.empty()) {
    distinct = {config_.candidates.begin(), config_.candidates.end()};
    enumerable_ = true;
  }
  if (!enumerable_) return;
  std::vector<Genotype> all(distinct.begin(), distinct.end());
  if (config_.admissible) std::erase_if(all, [&](const Genotype& genotype) { return !config_.admissible(genotype); });
  unbiased_ = all.size();
  set_pool(std::move(all));
}

// What was in the pool before is not encoded again.
void SurrogateSearch::encode_pool(const std::vector<Genotype>& before) {
  std::map<Genotype, Eigen::Index> rows;
  for (std::size_t i = 0; i < before.size(); ++i) rows[before[i]] = static_cast<Eigen::Index>(i);
  std::vector<Genotype> fresh;
  for (const Genotype& genotype : pool_) {
    if (!rows.contains(genotype)) fresh.push_back(genotype);
  }
  const EncodedGenotypes encoded = encoding_.encode(fresh);
  EncodedGenotypes pool;
  pool.resize(std::ssize(pool_), encoded);
  Eigen::Index next = 0;
  for (Eigen::Index i = 0; i < pool.size(); ++i) {
    const auto row = rows.find(pool_[static_cast<std::size_t>(i)]);
    if (row == rows.end()) {
      pool.set(i, encoded, next++);
    } else {
      pool.set(i, encoded_pool_, row->second);
    }
  }
  encoded_pool_ = std::move(pool);
  pool_known_.assign(config_.objectives, {});
  for (std::size_t i = 0; i < config_.objectives; ++i) {
    if (!is_known_beforehand(i)) continue;
    for (const Genotype& genotype : pool_) pool_known_[i].push_back(config_.known_objectives[i](genotype));
  }
}

void SurrogateSearch::set_pool(std::vector<Genotype> genotypes) {
  if (!enumerable_ || encoded_pool_.size() == 0) {
    encode_pool(std::exchange(pool_, std::move(genotypes)));
  } else {
    pool_ = std::move(genotypes);
  }
  for (std::size_t i = 0; i < config_.objectives && fitted_at_ > 0; ++i) {
    if (!is_known_beforehand(i)) objectives_[i].model.set_candidates(encoded_pool_);
  }
  if (violation_ && fitted_at_ > 0) violation_->model.set_candidates(encoded_pool_);
}

// Generations of crossover and mutation among the front and the best of the pool, judged by the models.
void SurrogateSearch::evolve_pool() {
  constexpr std::size_t kUnbiased = 128, kParents = 96, kChildren = 256, kGenerations = 4;
  std::vector<Genotype> pool;
  std::set<Genotype> seen;
  const auto add = [&](Genotype genotype, bool may_be_known) {
    if (!may_be_known && log_.proposed(genotype)) return;
    if (seen.contains(genotype) || (config_.admissible && !config_.admissible(genotype))) return;
    seen.insert(genotype);
    pool.push_back(std::move(genotype));
  };
  // The same every time: by it the scale of the objectives is judged. Half of it spread from small to large networks,
  // because uniform genotypes of many decisions all cost about the same.
  std::mt19937_64 generator(1);
  add(space_.smallest(), true);
  add(space_.largest(), true);
  for (std::size_t i = 0; i < 2 * kUnbiased && pool.size() < kUnbiased; ++i)
    add(i % 2 == 0 ? space_.random(generator) : near_level(space_, uniform(generator), generator), true);
  ParetoFront front;
  for (const Known& known : told_) {
    if (known.outcome.evaluated() && known.outcome.violation <= 0) front.insert({known.id, known.outcome.objectives});
  }
  if (pool.size() < 4) {  // hardly anything is admissible: what was evaluated says most
    for (const ArchiveEntry& entry : front.entries()) add(log_.genotype(entry.id), true);
  }
  unbiased_ = pool.size();
  std::vector<Genotype> parents;
  for (const ArchiveEntry& entry : front.entries()) parents.push_back(log_.genotype(entry.id));
  const std::size_t known_parents = parents.size();
  for (std::size_t generation = 0; generation < kGenerations && known_parents > 0; ++generation) {
    pool.resize(unbiased_);
    seen = {pool.begin(), pool.end()};
    for (std::size_t i = known_parents; i < parents.size(); ++i) add(parents[i], false);
    for (std::size_t i = 0; i < 4 * kChildren && pool.size() < unbiased_ + kParents + kChildren; ++i) {
      Genotype child = parents[generator_() % parents.size()];
      if (generator_() % 2 == 0)
        child = crossover(std::move(child), parents[generator_() % parents.size()], generator_);
      add(mutate(std::move(child), space_, config_.mutation_probability, generator_), false);
    }
    set_pool(pool);
    const std::vector<double> score = scores(aim(), false);
    std::vector<std::size_t> order(pool_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, std::greater<>{}, [&](std::size_t i) { return score[i]; });
    parents.resize(known_parents);
    for (std::size_t i = 0; i < order.size() && i < kParents && score[order[i]] > 0; ++i)
      parents.push_back(pool_[order[i]]);
  }
  if (known_parents == 0) set_pool(std::move(pool));
  pool_age_ = 0;
}

// --- What a candidate is worth --------------------------------------------------------------------------------------

double SurrogateSearch::value(std::size_t objective, std::size_t candidate, double deviations) const {
  if (is_known_beforehand(objective)) return pool_known_[objective][candidate];
  return objectives_[objective].model.value(static_cast<Eigen::Index>(candidate), deviations);
}

double SurrogateSearch::feasibility(std::size_t candidate) const {
  if (!violation_) return 1;
  std::size_t feasible = 0;
  for (const double deviations : kDeviations) {
    feasible += violation_->model.value(static_cast<Eigen::Index>(candidate), deviations) < kViolationThreshold;
  }
  return (static_cast<double>(feasible) + 0.05) / static_cast<double>(std::size(kDeviations));
}

SurrogateSearch::Aim SurrogateSearch::aim() const {
  const std::size_t objectives = config_.objectives;
  Aim aim;
  for (std::size_t i = 0; i < objectives; ++i) {
    std::vector<double> expected;
    for (std::size_t k = 0; k < unbiased_; ++k) expected.push_back(value(i, k, 0));
    if (expected.empty()) expected.push_back(0);
    aim.utility.emplace_back(expected);
  }
  ParetoFront front;
  const auto insert = [&](CandidateId id, const std::vector<double>& values) {
    std::vector<double> point;
    for (std::size_t i = 0; i < objectives; ++i) point.push_back(aim.utility[i](values[i]));
    front.insert({id, std::move(point)});
  };
  for (const Known& known : told_) {
    if (known.outcome.evaluated() && known.outcome.violation <= 0) insert(known.id, known.outcome.objectives);
  }
  for (const CandidateId id : pending_) {
    std::vector<double> expected;
    for (std::size_t i = 0; i < objectives; ++i) {
      expected.push_back(is_known_beforehand(i) ? config_.known_objectives[i](log_.genotype(id))
                                                : objectives_[i].model.believed(objectives_[i].rows.at(id)));
    }
    insert(id, expected);
  }
  for (const ArchiveEntry& entry : front.entries()) aim.front.push_back(entry.objectives);
  std::vector<double> reference;
  for (std::size_t i = 0; i < objectives; ++i) {
    double worst = -kInfinity;
    for (const auto& point : aim.front) worst = std::max(worst, point[i]);
    // At least the fence: the front may still grow at its ends.
    reference.push_back(std::max(worst + 0.1, aim.utility[i].fence()));
  }
  if (const std::size_t limit = front_limit(objectives); aim.front.size() > limit) {
    std::vector<std::size_t> order(aim.front.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::vector<double> crowding = crowding_distance(aim.front);
    std::ranges::stable_sort(order, std::greater<>{}, [&](std::size_t i) { return crowding[i]; });
    std::vector<std::vector<double>> thinned;
    for (std::size_t i = 0; i < limit; ++i) thinned.push_back(aim.front[order[i]]);
    aim.improvement.emplace(thinned, reference);
  } else {
    aim.improvement.emplace(aim.front, reference);
  }
  return aim;
}

// 0 for what was proposed before and for what even at its best is dominated. Optimistic: as if every objective came out
// 1.5 deviations better than expected.
std::vector<double> SurrogateSearch::scores(const Aim& aim, bool optimistic) const {
  const std::size_t objectives = config_.objectives;
  std::vector<double> result(pool_.size(), 0.0);
  std::vector<double> best_case(objectives);
  std::vector<std::vector<double>> samples(objectives);
  std::vector<std::span<const double>> views(objectives);
  for (std::size_t k = 0; k < pool_.size(); ++k) {
    for (std::size_t i = 0; i < objectives; ++i) best_case[i] = aim.utility[i](value(i, k, kDeviations[0]));
    if (std::ranges::any_of(aim.front, [&](const auto& point) { return dominates(point, best_case); })) continue;
    if (log_.proposed(pool_[k])) continue;
    for (std::size_t i = 0; i < objectives; ++i) {
      samples[i].assign(1, best_case[i]);
      for (std::size_t s = 1; s < std::size(kDeviations) && !optimistic && !is_known_beforehand(i); ++s)
        samples[i].push_back(aim.utility[i](value(i, k, kDeviations[s])));
      views[i] = samples[i];
    }
    result[k] = (*aim.improvement)(views)*feasibility(k);
  }
  return result;
}

}  // namespace finch::search
