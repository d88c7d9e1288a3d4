// What a network will cost on a device (latency or energy), learnt from measurements of others: a ridge regression that
// is additive over the parts of a network's workload, as layer tables are (ProxylessNAS, Cai 2019), and a Gaussian
// process for what that leaves over. It may start from a device that is known already (HELP, Lee 2021): its prediction
// is one more part. Not thread safe.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "search/gaussian_process.hpp"
#include "search/search_space.hpp"

namespace finch::search {

struct PredictorQuality {
  std::size_t samples = 0;
  double rank_correlation = 0;  // Spearman's, of predictions made before they were measured
  double within_tenth = 0;      // share of these predictions that were off by at most 10 %
  // Enough to go by: at least 10 predictions, 0.9 and 0.8.
  bool good() const { return samples >= 10 && rank_correlation >= 0.9 && within_tenth >= 0.8; }
};

class LatencyPredictor {
 public:
  // `space` must outlive the predictor. `known`: of other devices, fitted; the one whose ranks agree best with the
  // samples is started from.
  explicit LatencyPredictor(const SearchSpace& space, std::vector<std::shared_ptr<const LatencyPredictor>> known = {});

  // A measurement, > 0, in whatever unit predictions are wanted in. Genotypes need not be canonical: a device runs what
  // it is given. Judges the present prediction of it first, where there is one.
  void add(const Genotype& genotype, double value);
  // Learns from all that was added. REQUIRES: at least 2 samples.
  void fit();
  bool fitted() const { return additive_.size() > 0; }
  // REQUIRES: fitted().
  std::vector<double> predict(std::span<const Genotype> genotypes) const;
  double predict(const Genotype& genotype) const { return predict(std::span(&genotype, 1)).front(); }

  // Of the last 20 predictions.
  PredictorQuality quality() const;
  std::size_t samples() const { return values_.size(); }
  // Which of the known devices it started from; nothing without one.
  std::optional<std::size_t> similar() const { return similar_; }

 private:
  // [N, 1 + known + parts]: a constant, what the similar device takes, and the workload, standardised over the samples.
  Eigen::MatrixXd design(std::span<const Genotype> genotypes) const;
  EncodedGenotypes encode(std::span<const Genotype> genotypes, const Eigen::MatrixXd& design) const;
  Eigen::VectorXd fit_additive(const Eigen::MatrixXd& design);
  void choose_similar();

  const SearchSpace& space_;
  std::vector<std::shared_ptr<const LatencyPredictor>> known_;
  std::vector<Genotype> genotypes_;
  std::vector<double> values_;
  std::optional<std::size_t> similar_;
  Eigen::RowVectorXd shift_, spread_;  // of the workload
  Eigen::VectorXd additive_;
  double floor_ = 0;  // no prediction of the additive part is lower
  GaussianProcess residual_;
  double residual_deviation_ = 1;
  std::vector<double> predicted_, measured_;  // in this order
};

}  // namespace finch::search
