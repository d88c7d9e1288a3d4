// What one or several teachers answer to a data set, as the soft targets of students. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <filesystem>
#include <functional>
#include <vector>

#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/evaluation.hpp"

namespace finch::trainer {

// Logits over the training split, [N, views, classes] as compute_soft_targets() gives them, and over the validation
// split, float32 [M, classes].
struct TeacherAnswers {
  torch::Tensor train, validation;
};

TeacherAnswers answers_of(const Classifier& teacher, const Dataset& dataset, bool mirrored,
                          const std::function<void(double fraction)>& progress);

// Answers that another runtime computed: little-endian float32 [views, N + M, classes], the training images first.
// Errors: not readable, of another number of images or classes, infinite.
std::expected<TeacherAnswers, Error> read_answers(const std::filesystem::path& path, const Dataset& dataset,
                                                  bool mirrored);

// The mean of the teachers' probabilities softened with `temperature`, as logits: softening them with the same
// temperature gives that mean. One teacher's answers stay what they are. REQUIRES: at least one.
TeacherAnswers ensemble(const std::vector<TeacherAnswers>& teachers, double temperature);

}  // namespace finch::trainer
