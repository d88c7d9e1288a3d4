// Model-guided search, the default: Gaussian processes of every objective that is not known beforehand, and the
// candidate of the greatest expected hypervolume improvement next (Emmerich 2006; Daulton 2021, qNEHVI, for candidates
// in flight). A space of a few thousand networks is looked at whole; in a larger one an evolution on the models finds
// the candidates (Lu 2020, MSuNAS; Cummings 2022, LINAS). Where the models do not predict, the search is steady-state
// NSGA-II. Not thread safe.
#pragma once

#include <map>
#include <set>

#include "search/expected_improvement.hpp"
#include "search/genotype_encoding.hpp"
#include "search/nsga2.hpp"
#include "search/objective_model.hpp"
#include "search/pareto_front.hpp"
#include "search/proposal_log.hpp"

namespace finch::search {

class SurrogateSearch : public SearchAlgorithm {
 public:
  SurrogateSearch(const AlgorithmConfig& config, const SearchSpace& space);
  std::vector<Proposal> ask(std::size_t n) override;
  void tell(CandidateId id, const Outcome& outcome) override;
  CandidateId adopt(const Genotype& genotype) override;

 private:
  struct Known {
    CandidateId id;
    Outcome outcome;
  };
  // One quantity, with its row for each candidate that it has learnt from or believes in.
  struct Model {
    ObjectiveModel model;
    std::map<CandidateId, Eigen::Index> rows;
  };

  bool is_known_beforehand(std::size_t objective) const {
    return objective < config_.known_objectives.size() && config_.known_objectives[objective] != nullptr;
  }
  std::optional<Genotype> initial();     // few, far from each other
  std::optional<Genotype> improving();   // by the models
  std::optional<Genotype> evolved();     // by NSGA-II
  std::optional<Genotype> unproposed();  // whatever the pool still holds

  // Models.
  void fit_models();
  void believe(CandidateId id);  // in flight: counts as what the models expect of it
  std::vector<std::size_t> training_set() const;
  bool models_predict() const;

  // The pool of candidates.
  void enumerate();
  void set_pool(std::vector<Genotype> genotypes);
  void encode_pool(const std::vector<Genotype>& before);
  void evolve_pool();
  double value(std::size_t objective, std::size_t candidate, double deviations) const;
  double feasibility(std::size_t candidate) const;

  // What a candidate of the pool is expected to add to the front.
  struct Aim {
    std::vector<UtilityScale> utility;
    std::vector<std::vector<double>> front;
    std::optional<ExpectedImprovement> improvement;
  };
  Aim aim() const;
  std::vector<double> scores(const Aim& aim, bool optimistic) const;

  const AlgorithmConfig config_;
  const SearchSpace& space_;
  std::mt19937_64 generator_;
  ProposalLog log_;
  Nsga2 evolution_;
  GenotypeEncoding encoding_;
  EncodedGenotypes design_;
  std::size_t initial_ = 0;
  std::vector<Known> told_;
  std::set<CandidateId> pending_;
  std::size_t evaluated_ = 0, infeasible_ = 0, proposed_by_model_ = 0;

  std::vector<Model> objectives_;
  std::optional<Model> violation_;  // once there was one
  std::size_t fitted_at_ = 0;       // told then; 0: no models yet
  bool learnt_ = false;             // since the predictions were made

  bool enumerable_ = true;
  std::vector<Genotype> pool_;
  std::size_t unbiased_ = 0;  // the first members of the pool: a uniform sample of the space
  std::size_t pool_age_ = 0;  // proposals since an evolved pool was made
  EncodedGenotypes encoded_pool_;
  std::vector<std::vector<double>> pool_known_;  // by objective; empty where it is not known beforehand
};

}  // namespace finch::search
