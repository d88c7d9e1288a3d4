// Gaussian process regression over genotypes (Rasmussen and Williams 2006, chapters 2 and 5) that grows point by point:
// a new point costs O(n^2 + n N) for n points and N candidates. Not thread safe.
#pragma once

#include <Eigen/Core>

#include "search/genotype_encoding.hpp"

namespace finch::search {

// k = linear x.x'/F + smooth Matern52(|x - x'| / (length sqrt F)) + discrete exp(-hamming / (discrete_length D)), each
// with its weight, + noise; all times a variance that follows from the data.
struct KernelSettings {
  Eigen::RowVectorXd relevance;  // a factor for each feature; empty: 1 throughout
  double linear = 0.3, smooth = 1, length = 1, discrete = 1, discrete_length = 0.5, noise = 1e-3;
};

class GaussianProcess {
 public:
  // Settings of the greatest marginal likelihood (equation 5.8), by coordinate search on a grid from the present ones.
  // `targets` [n]: about mean 0, deviation 1.
  void fit_kernel(const EncodedGenotypes& points, const Eigen::VectorXd& targets, double decisions);

  // Conditions on `points`, O(n^3); there are no candidates then.
  void condition(const EncodedGenotypes& points, double decisions);
  // Where to predict. O(n^2 N).
  void set_candidates(EncodedGenotypes candidates);
  // One more point, [1, ...].
  void add_point(const EncodedGenotypes& point);
  // Targets of all points so far; then the predictions hold.
  void set_targets(const Eigen::VectorXd& targets);

  const Eigen::VectorXd& mean() const { return mean_; }  // [N]
  Eigen::VectorXd deviation() const;                     // [N], of the function without noise
  Eigen::VectorXd leave_one_out() const;                 // [n], equation 5.12
  const KernelSettings& kernel() const { return settings_; }
  // The mean at one more place, [1, ...]. O(n^2).
  double predict(const EncodedGenotypes& at) const;

 private:
  KernelSettings settings_;
  double decisions_ = 1;
  EncodedGenotypes points_, candidates_;
  Eigen::Index count_ = 0;
  Eigen::MatrixXd factor_;                      // L, lower, capacity grows
  Eigen::MatrixXd projected_;                   // L^-1 k(points, candidates), [capacity, N]
  Eigen::VectorXd prior_variance_, explained_;  // [N], before scaling
  Eigen::VectorXd whitened_;                    // L^-1 targets
  Eigen::VectorXd mean_;
  double scale_ = 1;  // signal variance
};

}  // namespace finch::search
