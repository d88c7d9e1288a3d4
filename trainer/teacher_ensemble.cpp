#include "trainer/teacher_ensemble.hpp"

#include <format>
#include <fstream>

#include "trainer/soft_targets.hpp"

namespace finch::trainer {

TeacherAnswers answers_of(const Classifier& teacher, const Dataset& dataset, bool mirrored,
                          const std::function<void(double fraction)>& progress) {
  return {.train = compute_soft_targets(teacher, dataset.train, mirrored, progress),
          .validation = logits_of(teacher, dataset.validation)};
}

std::expected<TeacherAnswers, Error> read_answers(const std::filesystem::path& path, const Dataset& dataset,
                                                  bool mirrored) {
  const std::int64_t views = mirrored ? 2 : 1, images = dataset.train.size() + dataset.validation.size(),
                     classes = std::ssize(dataset.class_names);
  torch::Tensor logits = torch::empty({views, images, classes});
  const auto bytes = static_cast<std::streamsize>(logits.nbytes());
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return std::unexpected(Error{path.string() + ": the teacher's answers cannot be read"});
  if (file.tellg() != bytes) {
    return std::unexpected(Error{std::format(
        "the teacher's answers take {} bytes, but those of {} classes to {} images, {} times, take {}; it must be made "
        "for these classes",
        static_cast<std::int64_t>(file.tellg()), classes, images, views, bytes)});
  }
  file.seekg(0);
  file.read(static_cast<char*>(logits.data_ptr()), bytes);
  if (!file) return std::unexpected(Error{path.string() + ": the teacher's answers cannot be read"});
  if (!logits.isfinite().all().item<bool>()) {
    return std::unexpected(Error{"the teacher answers with what is no finite number to some of the images"});
  }
  return TeacherAnswers{.train = logits.slice(1, 0, dataset.train.size()).transpose(0, 1).contiguous().to(torch::kHalf),
                        .validation = logits[0].slice(0, dataset.train.size()).contiguous()};
}

TeacherAnswers ensemble(const std::vector<TeacherAnswers>& teachers, double temperature) {
  if (teachers.size() == 1) return teachers.front();
  const auto mean_of = [&](torch::Tensor TeacherAnswers::* part) {
    torch::Tensor sum;
    for (const TeacherAnswers& teacher : teachers) {
      const torch::Tensor softened = torch::softmax((teacher.*part).to(torch::kFloat) / temperature, -1);
      sum = sum.defined() ? sum + softened : softened;
    }
    return temperature * (sum / static_cast<double>(teachers.size())).clamp_min(1e-30).log();
  };
  return {.train = mean_of(&TeacherAnswers::train).to(torch::kHalf),
          .validation = mean_of(&TeacherAnswers::validation)};
}

}  // namespace finch::trainer
