// How one objective is modelled, and how much a difference of it counts. Plain values; concurrent reads are safe.
#pragma once

#include <span>

namespace finch::search {

// Box and Cox 1964: the power transform whose values look most like a normal distribution, by profile likelihood; so
// that times and errors of any distribution suit a Gaussian model. Standardised: mean 0, deviation 1 over the sample.
class PowerTransform {
 public:
  PowerTransform() = default;
  // REQUIRES: finite values, at least one.
  explicit PowerTransform(std::span<const double> values);
  double forward(double value) const;
  double inverse(double transformed) const;
  double power() const { return power_; }

 private:
  double raw(double value) const;

  double power_ = 1, shift_ = 0, unit_ = 1;  // raw: ((value + shift) / unit)^power, or its logarithm
  double mean_ = 0, deviation_ = 1;
};

// The value of an objective in units of the interquartile range: linear as far as Tukey's upper fence (1977, third
// quartile + 1.5 ranges), logarithmic beyond. Without a reference point of the user's this says which part of a front
// is of interest: outliers, such as an error near chance, hardly are.
class UtilityScale {
 public:
  UtilityScale() = default;
  // REQUIRES: finite values, at least one, of the whole space rather than of the front.
  explicit UtilityScale(std::span<const double> values);
  double operator()(double value) const;
  double fence() const { return fence_ / range_; }

 private:
  double fence_ = 0, range_ = 1;
};

}  // namespace finch::search
