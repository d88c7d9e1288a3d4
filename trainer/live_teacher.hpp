// A teacher that runs on every batch of a training: for its answers to the augmented images, and for what it computes
// on its way. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <memory>
#include <string_view>
#include <vector>

#include "trainer/error.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

// What the student learns of it, beside the soft targets.
enum class FeatureKind { none, hint, attention, relational };

// "", "hint", "attention", "relational". Error: another name.
std::expected<FeatureKind, Error> parse_feature_kind(std::string_view name);

class LiveTeacher {
 public:
  // Answers alone.
  explicit LiveTeacher(Classifier classifier) : classifier_(std::move(classifier)) {}
  // Answers and features. The stages of the two networks are paired from the last one backwards: `hint` takes the
  // middle pair, and a 1 x 1 convolution that learns along translates the student's channels to the teacher's;
  // `attention` takes all; `relational` takes what the classifiers read. Error: no stage in common.
  static std::expected<std::unique_ptr<LiveTeacher>, Error> with_features(std::shared_ptr<NetworkModule> teacher,
                                                                          const search::Network& student,
                                                                          FeatureKind kind);

  // What learns along and the teacher that shows its features; one that only answers is where it was loaded to.
  void move_to(torch::Device device);

  // Logits [N, classes] of the batch, without gradient; keeps the features for feature_loss().
  torch::Tensor answer(const torch::Tensor& images);
  // To be given to the student's forward pass over the same batch.
  NetworkModule::Observer student_observer();
  // Undefined: none. REQUIRES: answer() and the student's forward pass of this batch.
  torch::Tensor feature_loss() const;
  // That learn along with the student and are of no use afterwards.
  std::vector<torch::Tensor> parameters() const;

 private:
  struct Pair {
    std::int32_t student = 0, teacher = 0;  // nodes
    torch::Tensor student_features = {}, teacher_features = {};
  };

  Classifier classifier_;
  std::shared_ptr<NetworkModule> network_;  // null: answers alone
  FeatureKind kind_ = FeatureKind::none;
  std::vector<Pair> pairs_;
  torch::nn::Conv2d translation_{nullptr};
};

}  // namespace finch::trainer
