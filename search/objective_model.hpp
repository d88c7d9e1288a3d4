// One objective as a Gaussian process over genotypes, in the scale of its power transform. Not thread safe.
#pragma once

#include <span>
#include <vector>

#include "search/gaussian_process.hpp"
#include "search/objective_scale.hpp"

namespace finch::search {

class ObjectiveModel {
 public:
  // Learns from `values` [n] at `points`, raw and finite. The kernel's settings start from those of the last fit.
  void fit(const EncodedGenotypes& points, std::span<const double> values, double decisions);
  void set_candidates(const EncodedGenotypes& candidates);
  // One more point whose value is not known yet: it counts as what the model expects there (kriging believer,
  // Ginsbourger 2010), until set() tells it. Gives its row.
  Eigen::Index add(const EncodedGenotypes& point);
  void set(Eigen::Index row, double value);
  // REQUIRES: before predictions are read, after add() and set().
  void refresh();

  // At a candidate: the raw value `deviations` standard deviations from the mean.
  double value(Eigen::Index candidate, double deviations) const {
    return transform_.inverse(process_.mean()[candidate] + deviations * deviation_[candidate]);
  }
  double believed(Eigen::Index row) const { return transform_.inverse(targets_[row]); }
  // Spearman's, of leave-one-out predictions with the values of the last fit; 1 where all values are equal.
  double rank_correlation() const { return rank_correlation_; }

 private:
  PowerTransform transform_;
  GaussianProcess process_;
  Eigen::VectorXd targets_, deviation_;
  double rank_correlation_ = 1;
};

// Spearman's rank correlation, ties by their mean rank; 0 where one side is constant.
double rank_correlation(std::span<const double> a, std::span<const double> b);

}  // namespace finch::search
