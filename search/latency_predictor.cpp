#include "search/latency_predictor.hpp"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "search/objective_model.hpp"

namespace finch::search {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr Index kKernelSamples = 120;  // the kernel's settings are sought on as many: the search is cubic
constexpr std::size_t kJudged = 20;
constexpr double kRidges[] = {1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 0.03, 0.1, 0.3, 1, 3};

}  // namespace

LatencyPredictor::LatencyPredictor(const SearchSpace& space, std::vector<std::shared_ptr<const LatencyPredictor>> known)
    : space_(space), known_(std::move(known)) {}

void LatencyPredictor::add(const Genotype& genotype, double value) {
  assert(value > 0 && space_.valid(genotype));
  if (fitted()) {
    predicted_.push_back(predict(genotype));
    measured_.push_back(value);
  }
  genotypes_.push_back(genotype);
  values_.push_back(value);
}

PredictorQuality LatencyPredictor::quality() const {
  const std::size_t count = std::min(kJudged, measured_.size());
  if (count == 0) return {};
  const auto predicted = std::span(predicted_).last(count), measured = std::span(measured_).last(count);
  double within = 0;
  for (std::size_t i = 0; i < count; ++i) within += std::abs(predicted[i] / measured[i] - 1) <= 0.1;
  return {count, rank_correlation(predicted, measured), within / static_cast<double>(count)};
}

void LatencyPredictor::choose_similar() {
  similar_.reset();
  double best = -2;
  for (std::size_t i = 0; i < known_.size(); ++i) {
    const double correlation = rank_correlation(known_[i]->predict(genotypes_), values_);
    if (correlation <= best) continue;
    best = correlation;
    similar_ = i;
  }
}

MatrixXd LatencyPredictor::design(std::span<const Genotype> genotypes) const {
  const auto rows = static_cast<Index>(genotypes.size());
  const Index first = similar_ ? 2 : 1;
  MatrixXd result;
  for (Index row = 0; row < rows; ++row) {
    const std::vector<double> parts = space_.workload(genotypes[static_cast<std::size_t>(row)]);
    const auto width = static_cast<Index>(parts.size());
    if (row == 0) result.setOnes(rows, first + width);
    result.row(row).tail(width) = Eigen::Map<const Eigen::RowVectorXd>(parts.data(), width);
  }
  if (similar_) {
    const std::vector<double> there = known_[*similar_]->predict(genotypes);
    result.col(1) = Eigen::Map<const VectorXd>(there.data(), rows);
  }
  return result;
}

EncodedGenotypes LatencyPredictor::encode(std::span<const Genotype> genotypes, const MatrixXd& design) const {
  EncodedGenotypes encoded;
  encoded.features = design.rightCols(shift_.size());
  Index width = 0;
  for (const Decision& decision : space_.decisions()) width += static_cast<Index>(decision.choices.size());
  encoded.one_hot.setZero(design.rows(), width);
  for (Index row = 0; row < design.rows(); ++row) {
    Index at = 0;
    for (std::size_t i = 0; i < space_.decisions().size(); ++i) {
      encoded.one_hot(row, at + genotypes[static_cast<std::size_t>(row)][i]) = 1;
      at += static_cast<Index>(space_.decisions()[i].choices.size());
    }
  }
  return encoded;
}

// Relative errors count: a tenth of a small network is as much as a tenth of a large one. Gives the leave-one-out
// predictions; the ridge is the one for which they are best.
VectorXd LatencyPredictor::fit_additive(const MatrixXd& design) {
  const Index n = design.rows();
  const auto y = Eigen::Map<const VectorXd>(values_.data(), n);
  floor_ = 0.5 * y.minCoeff();
  const VectorXd weight = y.array().max(0.1 * y.mean()).inverse();
  const MatrixXd x = weight.asDiagonal() * design;
  const VectorXd target = weight.cwiseProduct(y);
  const Index free = similar_ ? 2 : 1;  // columns that may be as large as they need
  const double scale = x.rightCols(x.cols() - free).squaredNorm() / static_cast<double>(x.cols() - free);
  double least = std::numeric_limits<double>::infinity();
  VectorXd best;
  for (const double ridge : kRidges) {
    VectorXd penalty = VectorXd::Constant(x.cols(), ridge * scale + 1e-12);
    penalty.head(free) = 1e-3 * x.leftCols(free).colwise().squaredNorm() / static_cast<double>(n);
    MatrixXd gram = x.transpose() * x;
    gram.diagonal() += penalty;
    const Eigen::LLT<MatrixXd> solver(gram);
    const VectorXd weights = solver.solve(x.transpose() * target);
    // Twice the negative logarithm of the evidence (MacKay 1992), the noise at its optimum.
    const double misfit = target.dot(target - x * weights) / static_cast<double>(n);
    const double badness = static_cast<double>(n) * std::log(misfit) +
                           2 * solver.matrixLLT().diagonal().array().log().sum() - penalty.array().log().sum();
    if (badness >= least) continue;
    least = badness;
    additive_ = weights;
    const VectorXd leverage = x.cwiseProduct(solver.solve(x.transpose()).transpose()).rowwise().sum();
    const VectorXd residual = (target - x * weights).array() / (1 - leverage.array().min(0.99));
    best = (target - residual).cwiseQuotient(weight).array().max(floor_);
  }
  return best;
}

void LatencyPredictor::fit() {
  assert(values_.size() >= 2);
  choose_similar();
  const auto n = static_cast<Index>(values_.size());
  MatrixXd parts = design(genotypes_);
  const Index first = similar_ ? 2 : 1;
  const Index width = parts.cols() - first;
  shift_ = parts.rightCols(width).colwise().mean();
  spread_ = ((parts.rightCols(width).rowwise() - shift_).colwise().squaredNorm() / static_cast<double>(n)).cwiseSqrt();
  spread_ = spread_.unaryExpr([](double value) { return value > 1e-12 ? value : 1.0; });
  parts.rightCols(width) = (parts.rightCols(width).rowwise() - shift_).array().rowwise() / spread_.array();

  const VectorXd left_out = fit_additive(parts);
  VectorXd residual = (Eigen::Map<const VectorXd>(values_.data(), n).array() / left_out.array()).log();
  residual_deviation_ = std::max(1e-6, std::sqrt(residual.squaredNorm() / static_cast<double>(n)));
  residual /= residual_deviation_;
  const EncodedGenotypes points = encode(genotypes_, parts);
  const auto decisions = static_cast<double>(space_.decisions().size());
  const Index few = std::min(n, kKernelSamples);
  residual_ = {};
  residual_.fit_kernel({points.features.topRows(few), points.one_hot.topRows(few)}, residual.head(few), decisions);
  residual_.condition(points, decisions);
  residual_.set_targets(residual);
}

std::vector<double> LatencyPredictor::predict(std::span<const Genotype> genotypes) const {
  MatrixXd parts = design(genotypes);
  const Index width = shift_.size();
  parts.rightCols(width) = (parts.rightCols(width).rowwise() - shift_).array().rowwise() / spread_.array();
  const VectorXd sum = (parts * additive_).array().max(floor_);
  const EncodedGenotypes encoded = encode(genotypes, parts);
  std::vector<double> values;
  for (Index row = 0; row < parts.rows(); ++row) {
    const double left = residual_.predict({encoded.features.row(row), encoded.one_hot.row(row)});
    values.push_back(sum[row] * std::exp(residual_deviation_ * left));
  }
  return values;
}

}  // namespace finch::search
