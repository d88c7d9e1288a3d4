#include "search/genotype_encoding.hpp"

#include <charconv>
#include <cmath>

#include "search/synflow.hpp"

namespace finch::search {
namespace {

constexpr int kSamples = 512;  // for mean and deviation of the features

// The place of each choice between the least and the greatest; nothing where a choice is no number.
std::vector<double> numeric_levels(const Decision& decision) {
  std::vector<double> values;
  for (const std::string& choice : decision.choices) {
    double value = 0;
    const auto [end, error] = std::from_chars(choice.data(), choice.data() + choice.size(), value);
    if (error != std::errc() || end != choice.data() + choice.size()) return {};
    values.push_back(value);
  }
  const auto [low, high] = std::ranges::minmax(values);
  for (double& value : values) value = high > low ? (value - low) / (high - low) : 0;
  return values;
}

}  // namespace

void EncodedGenotypes::resize(Eigen::Index rows, const EncodedGenotypes& like) {
  features.conservativeResize(rows, like.features.cols());
  one_hot.conservativeResize(rows, like.one_hot.cols());
}

void EncodedGenotypes::set(Eigen::Index row, const EncodedGenotypes& from, Eigen::Index from_row) {
  features.row(row) = from.features.row(from_row);
  one_hot.row(row) = from.one_hot.row(from_row);
}

GenotypeEncoding::GenotypeEncoding(const SearchSpace& space, bool synflow) : space_(space), synflow_(synflow) {
  for (const Decision& decision : space.decisions()) {
    offsets_.push_back(one_hot_width_);
    one_hot_width_ += static_cast<Eigen::Index>(decision.choices.size());
    levels_.push_back(numeric_levels(decision));
  }
  std::mt19937_64 generator(1);
  std::vector<Genotype> sample;
  for (int i = 0; i < kSamples; ++i) sample.push_back(space.random(generator));
  const auto width = static_cast<Eigen::Index>(raw_features(sample.front()).size());
  mean_.setZero(width);
  deviation_.setOnes(width);
  const Eigen::MatrixXd features = encode(sample).features;
  mean_ = features.colwise().mean();
  deviation_ = (features.rowwise() - mean_).colwise().squaredNorm() / static_cast<double>(kSamples);
  deviation_ = deviation_.unaryExpr([](double variance) { return variance > 1e-18 ? std::sqrt(variance) : 1.0; });
}

std::vector<double> GenotypeEncoding::raw_features(const Genotype& genotype) const {
  std::vector<double> values = space_.features(genotype);
  for (std::size_t i = 0; i < genotype.size(); ++i) {
    if (!levels_[i].empty()) values.push_back(levels_[i][static_cast<std::size_t>(genotype[i])]);
  }
  if (synflow_) {
    const auto network = space_.decode(genotype);
    values.push_back(network ? expected_synflow(*network) : 0);
  }
  return values;
}

EncodedGenotypes GenotypeEncoding::encode(std::span<const Genotype> genotypes) const {
  const auto rows = static_cast<Eigen::Index>(genotypes.size());
  EncodedGenotypes encoded;
  encoded.features.resize(rows, mean_.size());
  encoded.one_hot.setZero(rows, one_hot_width_);
  for (Eigen::Index row = 0; row < rows; ++row) {
    const Genotype& genotype = genotypes[static_cast<std::size_t>(row)];
    const std::vector<double> features = raw_features(genotype);
    encoded.features.row(row) =
        (Eigen::Map<const Eigen::RowVectorXd>(features.data(), mean_.size()) - mean_).array() / deviation_.array();
    for (std::size_t i = 0; i < genotype.size(); ++i) encoded.one_hot(row, offsets_[i] + genotype[i]) = 1;
  }
  return encoded;
}

}  // namespace finch::search
