#include "trainer/live_teacher.hpp"

#include <algorithm>
#include <format>

#include "trainer/feature_loss.hpp"

namespace finch::trainer {

std::expected<FeatureKind, Error> parse_feature_kind(std::string_view name) {
  if (name.empty()) return FeatureKind::none;
  if (name == "hint") return FeatureKind::hint;
  if (name == "attention") return FeatureKind::attention;
  if (name == "relational") return FeatureKind::relational;
  return std::unexpected(
      Error{std::format("unknown kind of distillation '{}'; known: hint, attention, relational", name)});
}

std::expected<std::unique_ptr<LiveTeacher>, Error> LiveTeacher::with_features(std::shared_ptr<NetworkModule> teacher,
                                                                              const search::Network& student,
                                                                              FeatureKind kind) {
  auto live = std::make_unique<LiveTeacher>(Classifier());
  live->network_ = std::move(teacher);
  live->kind_ = kind;
  const search::Network& network = live->network_->network();
  if (kind == FeatureKind::relational) {
    live->pairs_.push_back({.student = embedding_node(student), .teacher = embedding_node(network)});
    return live;
  }
  const auto of_student = stage_ends(student), of_teacher = stage_ends(network);
  const std::size_t count = std::min(of_student.size(), of_teacher.size());
  if (count == 0) return std::unexpected(Error{"student and teacher have no stage in common to distil features from"});
  for (std::size_t i = 0; i < count; ++i) {
    live->pairs_.push_back(
        {.student = of_student[of_student.size() - count + i], .teacher = of_teacher[of_teacher.size() - count + i]});
  }
  if (kind == FeatureKind::hint) {
    live->pairs_ = {live->pairs_[(count - 1) / 2]};
    const auto channels = [](const search::Network& of, std::int32_t node) {
      return of.nodes[static_cast<std::size_t>(node)].shape.channels;
    };
    live->translation_ = torch::nn::Conv2d(torch::nn::Conv2dOptions(channels(student, live->pairs_[0].student),
                                                                    channels(network, live->pairs_[0].teacher), 1));
  }
  return live;
}

void LiveTeacher::move_to(torch::Device device) {
  if (network_) network_->move_to(device);
  if (!translation_.is_empty()) translation_->to(device);
}

torch::Tensor LiveTeacher::answer(const torch::Tensor& images) {
  const torch::NoGradGuard no_grad;
  if (!network_) return classifier_(images);
  return network_->forward(images, [this](std::int32_t node, const torch::Tensor& output) {
    for (Pair& pair : pairs_) {
      if (pair.teacher == node) pair.teacher_features = output;
    }
  });
}

NetworkModule::Observer LiveTeacher::student_observer() {
  if (kind_ == FeatureKind::none) return {};
  return [this](std::int32_t node, const torch::Tensor& output) {
    for (Pair& pair : pairs_) {
      if (pair.student == node) pair.student_features = output;
    }
  };
}

torch::Tensor LiveTeacher::feature_loss() const {
  torch::Tensor sum;
  for (const Pair& pair : pairs_) {
    torch::Tensor loss;
    if (kind_ == FeatureKind::hint) {
      loss = hint_loss(torch::conv2d(pair.student_features, translation_->weight, translation_->bias),
                       pair.teacher_features);
    } else if (kind_ == FeatureKind::attention) {
      loss = attention_loss(pair.student_features, pair.teacher_features);
    } else {
      loss = relational_loss(pair.student_features.flatten(1), pair.teacher_features.flatten(1));
    }
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum;
}

std::vector<torch::Tensor> LiveTeacher::parameters() const {
  return translation_.is_empty() ? std::vector<torch::Tensor>() : translation_->parameters();
}

}  // namespace finch::trainer
