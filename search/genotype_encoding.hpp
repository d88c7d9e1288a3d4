// A genotype as numbers that a model learns from: one-hot decisions of the canonical genotype, and standardised
// features. Immutable after construction; safe to share between threads.
#pragma once

#include <Eigen/Core>

#include "search/search_space.hpp"

namespace finch::search {

// The row [1, features + one_hot] of one genotype, or [N, ...] of many.
struct EncodedGenotypes {
  Eigen::MatrixXd features;  // [N, F], about mean 0 and deviation 1 over the space
  Eigen::MatrixXd one_hot;   // [N, sum of choices]; the dot product of two rows counts their equal decisions

  Eigen::Index size() const { return one_hot.rows(); }
  void resize(Eigen::Index rows, const EncodedGenotypes& like);
  void set(Eigen::Index row, const EncodedGenotypes& from, Eigen::Index from_row);
};

class GenotypeEncoding {
 public:
  // `space` must outlive the encoding. With `synflow`, that score is one more feature.
  explicit GenotypeEncoding(const SearchSpace& space, bool synflow = false);
  // REQUIRES: canonical genotypes.
  EncodedGenotypes encode(std::span<const Genotype> genotypes) const;
  std::size_t decisions() const { return offsets_.size(); }

 private:
  // What the space offers, and the place of each decision whose choices are numbers ("3", "5", "7").
  std::vector<double> raw_features(const Genotype& genotype) const;

  const SearchSpace& space_;
  const bool synflow_;
  std::vector<Eigen::Index> offsets_;  // of each decision in a one-hot row
  Eigen::Index one_hot_width_ = 0;
  std::vector<std::vector<double>> levels_;  // of each decision, [0, 1] a choice; empty where choices are no numbers
  Eigen::RowVectorXd mean_, deviation_;
};

}  // namespace finch::search
