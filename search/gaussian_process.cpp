#include "search/gaussian_process.hpp"

#include <Eigen/Cholesky>
#include <array>
#include <cmath>
#include <limits>

namespace finch::search {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

// The parts of the kernel that settings do not change.
struct Similarity {
  MatrixXd dot, distance, hamming;  // [rows, columns]

  Similarity(const EncodedGenotypes& a, const EncodedGenotypes& b, const Eigen::RowVectorXd& relevance,
             double decisions) {
    const double width = static_cast<double>(std::max<Index>(1, a.features.cols()));
    const MatrixXd weighed =
        relevance.size() == 0 ? a.features : MatrixXd(a.features * relevance.cwiseAbs2().asDiagonal());
    dot.noalias() = weighed * b.features.transpose() / width;
    const VectorXd left = weighed.cwiseProduct(a.features).rowwise().sum() / width;
    VectorXd right = b.features.rowwise().squaredNorm() / width;
    if (relevance.size() > 0) right = b.features.cwiseAbs2() * relevance.cwiseAbs2().transpose() / width;
    distance = ((-2 * dot).colwise() + left).rowwise() + right.transpose();
    distance = distance.array().max(0.0).sqrt();
    hamming.noalias() = a.one_hot * b.one_hot.transpose();
    hamming = (1.0 - hamming.array() / decisions).max(0.0);
  }

  MatrixXd kernel(const KernelSettings& settings) const {
    MatrixXd result = settings.linear * dot;
    if (settings.smooth > 0) {
      const auto r = (std::sqrt(5.0) / settings.length) * distance.array();
      result.array() += settings.smooth * (1.0 + r + r.square() / 3.0) * (-r).exp();
    }
    if (settings.discrete > 0)
      result.array() += settings.discrete * (-hamming.array() / settings.discrete_length).exp();
    return result;
  }
};

VectorXd weighed_norm(const EncodedGenotypes& points, const Eigen::RowVectorXd& relevance) {
  if (relevance.size() == 0) return points.features.rowwise().squaredNorm();
  return points.features.cwiseAbs2() * relevance.cwiseAbs2().transpose();
}

// Twice the negative log marginal likelihood with the variance at its optimum, and a weak prior that keeps few points
// from absurd settings.
double badness(const Similarity& similarity, const VectorXd& targets, const KernelSettings& settings) {
  const Index n = targets.size();
  MatrixXd covariance = similarity.kernel(settings);
  covariance.diagonal().array() += settings.noise + 1e-8;
  const Eigen::LLT<MatrixXd> factor(covariance);
  if (factor.info() != Eigen::Success) return std::numeric_limits<double>::infinity();
  const VectorXd whitened = factor.matrixL().solve(targets);
  const double count = static_cast<double>(n);
  const double variance = (whitened.squaredNorm() + 1.0) / (count + 1.0);
  const double log_determinant = 2 * factor.matrixLLT().diagonal().array().log().sum();
  const auto away = [](double value, double from) { return std::pow(std::log(value / from), 2); };
  return count * std::log(variance) + log_determinant + 0.1 * away(settings.length, 1.5) +
         0.1 * away(settings.discrete_length, 0.5) + 0.05 * away(settings.noise, 3e-3) +
         (settings.relevance.size() > 0 ? 0.3 * settings.relevance.array().log().square().sum() : 0.0);
}

}  // namespace

void GaussianProcess::fit_kernel(const EncodedGenotypes& points, const VectorXd& targets, double decisions) {
  Similarity similarity(points, points, settings_.relevance, decisions);
  double best = badness(similarity, targets, settings_);
  struct Axis {
    double KernelSettings::* setting;
    std::vector<double> grid;
  };
  static const std::vector<Axis> axes = {
      {&KernelSettings::noise, {1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1}},
      {&KernelSettings::length, {0.35, 0.7, 1, 1.5, 2, 3, 5}},
      {&KernelSettings::smooth, {0, 0.1, 0.3, 1, 3}},
      {&KernelSettings::discrete, {0, 0.03, 0.1, 0.3, 1}},
      {&KernelSettings::discrete_length, {0.15, 0.3, 0.5, 1, 2}},
      {&KernelSettings::linear, {0, 0.03, 0.1, 0.3, 1, 3}},
  };
  for (int sweep = 0; sweep < 2; ++sweep) {
    bool changed = false;
    for (const Axis& axis : axes) {
      for (const double value : axis.grid) {
        KernelSettings tried = settings_;
        if (tried.*axis.setting == value) continue;
        tried.*axis.setting = value;
        if (tried.smooth + tried.discrete + tried.linear <= 0) continue;
        const double badness_now = badness(similarity, targets, tried);
        if (badness_now < best) {
          best = badness_now;
          settings_ = tried;
          changed = true;
        }
      }
    }
    // Automatic relevance determination (section 5.1), once there are points enough to tell.
    if (points.size() >= 2 * points.features.cols()) {
      if (settings_.relevance.size() == 0) settings_.relevance.setOnes(points.features.cols());
      for (Index feature = 0; feature < points.features.cols(); ++feature) {
        for (const double value : {0.1, 0.4, 1.0, 2.0}) {
          KernelSettings tried = settings_;
          if (tried.relevance[feature] == value) continue;
          tried.relevance[feature] = value;
          Similarity weighed(points, points, tried.relevance, decisions);
          const double badness_now = badness(weighed, targets, tried);
          if (badness_now >= best) continue;
          best = badness_now;
          settings_ = std::move(tried);
          similarity = std::move(weighed);
          changed = true;
        }
      }
    }
    if (!changed) break;
  }
}

void GaussianProcess::condition(const EncodedGenotypes& points, double decisions) {
  decisions_ = decisions;
  points_ = points;
  count_ = points_.size();
  MatrixXd covariance = Similarity(points_, points_, settings_.relevance, decisions).kernel(settings_);
  covariance.diagonal().array() += settings_.noise + 1e-8;
  Eigen::LLT<MatrixXd> decomposition(covariance);
  while (decomposition.info() != Eigen::Success) {  // rounding; more noise makes any matrix definite
    settings_.noise = std::max(10 * settings_.noise, 1e-6);
    covariance.diagonal().array() += settings_.noise;
    decomposition.compute(covariance);
  }
  const Index capacity = count_ + 64;
  factor_.setZero(capacity, capacity);
  factor_.topLeftCorner(count_, count_) = decomposition.matrixL();
  candidates_.resize(0, points_);
  projected_.setZero(capacity, 0);
  prior_variance_.resize(0);
  explained_.resize(0);
}

void GaussianProcess::set_candidates(EncodedGenotypes candidates) {
  candidates_ = std::move(candidates);
  MatrixXd cross = Similarity(points_, candidates_, settings_.relevance, decisions_).kernel(settings_);
  factor_.topLeftCorner(count_, count_).triangularView<Eigen::Lower>().solveInPlace(cross);
  projected_.setZero(factor_.rows(), candidates_.size());
  projected_.topRows(count_) = cross;
  const double width = static_cast<double>(std::max<Index>(1, candidates_.features.cols()));
  prior_variance_ = (settings_.linear / width) * weighed_norm(candidates_, settings_.relevance);
  prior_variance_.array() += settings_.smooth + settings_.discrete;
  explained_ = cross.colwise().squaredNorm();
  if (whitened_.size() == count_) mean_.noalias() = cross.transpose() * whitened_;
}

void GaussianProcess::add_point(const EncodedGenotypes& point) {
  if (count_ == factor_.rows()) {
    const Index capacity = count_ + count_ / 2 + 64;
    factor_.conservativeResize(capacity, capacity);
    projected_.conservativeResize(capacity, projected_.cols());
  }
  const MatrixXd to_points = Similarity(points_, point, settings_.relevance, decisions_).kernel(settings_);
  const MatrixXd to_candidates = Similarity(point, candidates_, settings_.relevance, decisions_).kernel(settings_);
  const double own =
      Similarity(point, point, settings_.relevance, decisions_).kernel(settings_)(0, 0) + settings_.noise + 1e-8;
  const VectorXd row = factor_.topLeftCorner(count_, count_).triangularView<Eigen::Lower>().solve(to_points.col(0));
  const double pivot = std::sqrt(std::max(own - row.squaredNorm(), 1e-10));
  factor_.row(count_).setZero();
  factor_.row(count_).head(count_) = row.transpose();
  factor_(count_, count_) = pivot;
  const Eigen::RowVectorXd rest = (to_candidates.row(0) - row.transpose() * projected_.topRows(count_)) / pivot;
  projected_.row(count_) = rest;
  explained_ += rest.transpose().cwiseAbs2();
  points_.resize(count_ + 1, point);
  points_.set(count_, point, 0);
  ++count_;
}

void GaussianProcess::set_targets(const VectorXd& targets) {
  whitened_ = factor_.topLeftCorner(count_, count_).triangularView<Eigen::Lower>().solve(targets);
  mean_.noalias() = projected_.topRows(count_).transpose() * whitened_;
  scale_ = (whitened_.squaredNorm() + 1.0) / (static_cast<double>(count_) + 1.0);
}

VectorXd GaussianProcess::deviation() const {
  return (scale_ * (prior_variance_ - explained_).array().max(1e-9)).sqrt();
}

VectorXd GaussianProcess::leave_one_out() const {
  const MatrixXd inverse =
      factor_.topLeftCorner(count_, count_).triangularView<Eigen::Lower>().solve(MatrixXd::Identity(count_, count_));
  const VectorXd weights = inverse.transpose() * whitened_;
  const VectorXd precision = inverse.colwise().squaredNorm();
  const VectorXd targets = factor_.topLeftCorner(count_, count_).triangularView<Eigen::Lower>() * whitened_;
  return targets.array() - weights.array() / precision.array();
}

double GaussianProcess::predict(const EncodedGenotypes& at) const {
  const MatrixXd cross = Similarity(points_, at, settings_.relevance, decisions_).kernel(settings_);
  return factor_.topLeftCorner(count_, count_).triangularView<Eigen::Lower>().solve(cross.col(0)).dot(whitened_);
}

}  // namespace finch::search
