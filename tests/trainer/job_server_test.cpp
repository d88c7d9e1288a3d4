// Every kind of job as the worker's child serves it, one on the results of the other.
#include "trainer/jobs.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <numeric>

#include "protocol/artifact_store.hpp"
#include "protocol/farm.pb.h"
#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/tensor_file.hpp"

namespace finch::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class JobServerTest : public testing::Test {
 protected:
  JobServerTest() {
    std::filesystem::create_directories(output_);
    std::filesystem::create_directories(folder_.path() / "data");
    write_sample_idx(folder_.path() / "data");
  }

  protocol::DataSpec data() const {
    protocol::DataSpec spec;
    spec.set_format("idx");
    spec.set_path((folder_.path() / "data").string());
    spec.set_validation_samples(40);
    spec.set_seed(1);
    return spec;
  }
  static protocol::Recipe recipe(double epochs) {
    protocol::Recipe recipe;
    recipe.set_epochs(epochs);
    recipe.set_batch_size(16);
    recipe.set_learning_rate(0.01);
    recipe.set_temperature(2);
    recipe.set_distillation_weight(0.5);
    recipe.set_threads(1);
    recipe.set_seed(1);
    return recipe;
  }
  template <typename Job>
  void set_network(Job& job) const {
    job.mutable_space()->set_name("mobilenet");
    job.mutable_space()->set_channels(1);
    job.mutable_space()->set_height(kSampleSize);
    job.mutable_space()->set_width(kSampleSize);
    job.mutable_space()->set_classes(kSampleClasses);
    const auto space = *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
    for (const int choice : space->smallest()) job.add_genotype(choice);
    *job.mutable_data() = data();
  }

  // All artifacts of earlier jobs are at hand.
  protocol::JobResult serve(const protocol::Job& job) {
    protocol::ChildRequest request;
    *request.mutable_job() = job;
    request.set_output_folder(output_.string());
    for (const auto& entry : std::filesystem::directory_iterator(output_))
      (*request.mutable_artifact_paths())[entry.path().filename().string()] = entry.path().string();
    protocol::JobResult result;
    int results = 0;
    server_.serve(request, [&](const protocol::ChildEvent& event) {
      EXPECT_EQ(results, 0) << "an event after the result";
      if (!event.has_result()) return;
      ++results;
      result = event.result();
    });
    EXPECT_EQ(results, 1);
    return result;
  }
  void expect_kept(const protocol::ArtifactRef& artifact) const {
    const auto path = output_ / artifact.sha256();
    ASSERT_TRUE(std::filesystem::exists(path));
    EXPECT_EQ(static_cast<std::int64_t>(std::filesystem::file_size(path)), artifact.size_bytes());
    EXPECT_EQ(protocol::sha256_of_file(path).value(), artifact.sha256());
  }

  protocol::TrainedTeacher train_teacher() {
    protocol::Job job;
    *job.mutable_train_teacher()->mutable_data() = data();
    *job.mutable_train_teacher()->mutable_recipe() = recipe(8);
    auto result = serve(job);
    EXPECT_TRUE(result.has_trained_teacher()) << result.failure().message();
    return result.trained_teacher();
  }

  const TemporaryFolder folder_;
  const std::filesystem::path output_ = folder_.path() / "output";
  JobServer server_;
};

TEST_F(JobServerTest, InspectsTheData) {
  protocol::Job job;
  *job.mutable_inspect_data()->mutable_data() = data();
  const auto result = serve(job);
  const protocol::DataFacts& facts = result.data_facts();
  EXPECT_EQ(facts.train_samples(), 160);
  EXPECT_EQ(facts.validation_samples(), 40);
  EXPECT_EQ(facts.test_samples(), 40);
  EXPECT_EQ(facts.class_names_size(), kSampleClasses);
  expect_kept(facts.test_set());
  protocol::ImageSet set;
  std::ifstream file(output_ / facts.test_set().sha256(), std::ios::binary);
  ASSERT_TRUE(set.ParseFromIstream(&file));
  EXPECT_EQ(std::ssize(set.pixels()), 40 * kSampleSize * kSampleSize);
}

TEST_F(JobServerTest, TrainsATeacherACandidateAndItsChild) {
  const auto teacher = train_teacher();
  EXPECT_GE(teacher.validation_top1(), 0.9);
  expect_kept(teacher.model());
  expect_kept(teacher.soft_targets());

  protocol::Job job;
  protocol::TrainCandidate& candidate = *job.mutable_train_candidate();
  set_network(candidate);
  *candidate.mutable_recipe() = recipe(12);
  *candidate.mutable_soft_targets() = teacher.soft_targets();
  const auto parent = serve(job).trained_candidate();
  EXPECT_EQ(std::accumulate(parent.validation().count().begin(), parent.validation().count().end(), std::int64_t{0}),
            40);
  EXPECT_GE(parent.validation_top1(), 0.9);
  EXPECT_EQ(parent.inherited_tensors(), 0);
  EXPECT_EQ(parent.files_size(), 0);
  expect_kept(parent.checkpoint());

  *candidate.mutable_parent_checkpoint() = parent.checkpoint();
  *candidate.mutable_recipe() = recipe(0.1);
  candidate.add_precisions("fp32");
  candidate.add_precisions("int8");
  const auto child = serve(job).trained_candidate();
  EXPECT_GT(child.inherited_tensors(), 0);
  EXPECT_GE(child.validation_top1(), 0.9) << "one step on top of what its parent has learnt";
  ASSERT_EQ(child.files_size(), 2);
  for (const auto& file : child.files()) expect_kept(file.artifact());
}

TEST_F(JobServerTest, LoadsATeacherInsteadOfTrainingOne) {
  const auto trained = train_teacher();
  protocol::Job job;
  *job.mutable_train_teacher()->mutable_data() = data();
  *job.mutable_train_teacher()->mutable_recipe() = recipe(8);
  *job.mutable_train_teacher()->add_torchscript() = trained.model();
  const auto loaded = serve(job).trained_teacher();
  EXPECT_EQ(loaded.validation_top1(), trained.validation_top1());
  EXPECT_EQ(loaded.soft_targets().sha256(), trained.soft_targets().sha256());
}

TEST_F(JobServerTest, AsksSeveralTeachersAndThoseOfOtherRuntimes) {
  const auto trained = train_teacher();
  protocol::Job job;
  *job.mutable_export_images()->mutable_data() = data();
  const auto exported = serve(job).exported_images();
  expect_kept(exported.images());
  protocol::ImageSet images;
  std::ifstream file(output_ / exported.images().sha256(), std::ios::binary);
  ASSERT_TRUE(images.ParseFromIstream(&file));
  EXPECT_EQ(images.labels_size(), 160 + 40);

  // Another runtime's teacher: it is always right.
  std::vector<float> logits;
  for (const int label : images.labels()) {
    for (int i = 0; i < kSampleClasses; ++i) logits.push_back(i == label ? 20.0F : 0.0F);
  }
  const std::string bytes(reinterpret_cast<const char*>(logits.data()), logits.size() * sizeof(float));
  write_file(output_ / protocol::sha256_hex(bytes), bytes);
  job.Clear();
  *job.mutable_train_teacher()->mutable_data() = data();
  *job.mutable_train_teacher()->mutable_recipe() = recipe(8);
  job.mutable_train_teacher()->add_logits()->set_sha256(protocol::sha256_hex(bytes));
  const auto other = serve(job);
  ASSERT_TRUE(other.has_trained_teacher()) << other.failure().message();
  EXPECT_EQ(other.trained_teacher().validation_top1(), 1);
  EXPECT_FALSE(other.trained_teacher().has_model());

  *job.mutable_train_teacher()->add_torchscript() = trained.model();
  const auto both = serve(job);
  ASSERT_TRUE(both.has_trained_teacher()) << both.failure().message();
  EXPECT_GE(both.trained_teacher().validation_top1(), trained.validation_top1());
  EXPECT_NE(both.trained_teacher().soft_targets().sha256(), trained.soft_targets().sha256());
}

TEST_F(JobServerTest, StudentsLearnFromATeacherThatRunsOnEveryBatch) {
  const auto teacher = train_teacher();
  for (const char* kind : {"", "hint"}) {
    protocol::Job job;
    protocol::TrainCandidate& candidate = *job.mutable_train_candidate();
    set_network(candidate);
    *candidate.mutable_recipe() = recipe(12);
    candidate.mutable_recipe()->set_teacher_on_batch(true);
    candidate.mutable_recipe()->set_distillation(kind);
    candidate.mutable_recipe()->set_feature_weight(1);
    candidate.mutable_recipe()->set_randaugment_operations(1);
    candidate.mutable_recipe()->set_randaugment_magnitude(5);
    candidate.mutable_recipe()->set_cutmix(0.2);
    candidate.mutable_recipe()->set_balanced_classes(true);
    *candidate.mutable_teacher() = teacher.model();
    const auto result = serve(job);
    ASSERT_TRUE(result.has_trained_candidate()) << kind << ": " << result.failure().message();
    EXPECT_GE(result.trained_candidate().validation_top1(), 0.8) << kind;
  }
  protocol::Job job;
  set_network(*job.mutable_train_candidate());
  *job.mutable_train_candidate()->mutable_recipe() = recipe(1);
  job.mutable_train_candidate()->mutable_recipe()->set_distillation("hints");
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("unknown kind of distillation 'hints'"));
  job.mutable_train_candidate()->mutable_recipe()->set_distillation("hint");
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("names no teacher"));
}

TEST_F(JobServerTest, TrainsASupernetAndGoesOnWithANetworkOfIt) {
  protocol::Job job;
  protocol::TrainSupernet& train = *job.mutable_train_supernet();
  protocol::TrainCandidate candidate;
  set_network(candidate);
  *train.mutable_space() = candidate.space();
  *train.mutable_data() = data();
  *train.mutable_recipe() = recipe(2);
  *train.mutable_soft_targets() = train_teacher().soft_targets();
  train.mutable_limits()->set_macs(100'000);
  const auto result = serve(job);
  ASSERT_TRUE(result.has_trained_supernet()) << result.failure().message();
  const auto supernet = result.trained_supernet();
  expect_kept(supernet.supernet());
  EXPECT_GT(supernet.seconds(), 0);
  EXPECT_GT(supernet.images_per_second(), 0);

  train.set_spread(true);
  const auto spread = serve(job).trained_supernet().supernet();
  EXPECT_GT(spread.size_bytes(), supernet.supernet().size_bytes());  // what is split by resolution

  job.Clear();
  set_network(*job.mutable_evaluate_subnet());
  *job.mutable_evaluate_subnet()->mutable_supernet() = spread;
  EXPECT_GT(serve(job).trained_candidate().validation_top1(), 0.3);
  *job.mutable_evaluate_subnet()->mutable_supernet() = supernet.supernet();
  job.mutable_evaluate_subnet()->set_threads(1);
  const auto evaluated = serve(job).trained_candidate();
  EXPECT_GT(evaluated.validation_top1(), 0.3);
  expect_kept(evaluated.checkpoint());
  EXPECT_EQ(serve(job).trained_candidate().checkpoint().sha256(), evaluated.checkpoint().sha256());

  job.Clear();
  *job.mutable_train_candidate() = candidate;
  *job.mutable_train_candidate()->mutable_recipe() = recipe(1);
  *job.mutable_train_candidate()->mutable_parent_checkpoint() = evaluated.checkpoint();
  const auto tuned = serve(job).trained_candidate();
  const auto state = load_tensors(output_ / tuned.checkpoint().sha256()).value();
  EXPECT_EQ(tuned.inherited_tensors(), std::ssize(state));

  job.Clear();
  set_network(*job.mutable_evaluate_subnet());
  *job.mutable_evaluate_subnet()->mutable_supernet() = tuned.checkpoint();
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("holds no supernet"));
}

TEST_F(JobServerTest, TimesTrainingSteps) {
  protocol::Job job;
  set_network(*job.mutable_time_training());
  *job.mutable_time_training()->mutable_recipe() = recipe(1);
  job.mutable_time_training()->set_steps(3);
  const auto time = serve(job).training_time();
  EXPECT_GT(time.images_per_second(), 0);
  EXPECT_GT(time.peak_memory_bytes(), 10'000'000);
}

TEST_F(JobServerTest, ABadJobIsAFailureThatIsNotTriedAgain) {
  protocol::Job job;
  set_network(*job.mutable_export_random());
  job.mutable_export_random()->add_precisions("fp32");
  job.mutable_export_random()->set_genotype(0, 99);
  auto failure = serve(job).failure();
  EXPECT_THAT(failure.message(), HasSubstr("does not belong to the space mobilenet"));
  EXPECT_FALSE(failure.retryable());

  job.mutable_export_random()->set_genotype(0, 0);
  job.mutable_export_random()->set_precisions(0, "int3");
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("int3"));

  job.mutable_export_random()->mutable_data()->set_path("/nowhere");
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("/nowhere"));

  job.Clear();
  job.mutable_measure();
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("for an agent"));

  job.Clear();
  set_network(*job.mutable_train_candidate());
  *job.mutable_train_candidate()->mutable_recipe() = recipe(1);
  job.mutable_train_candidate()->mutable_soft_targets()->set_sha256(std::string(64, 'f'));
  EXPECT_THAT(serve(job).failure().message(), HasSubstr("was not sent"));
}

TEST_F(JobServerTest, ServesOnAfterAFailure) {
  protocol::Job bad;
  bad.mutable_inspect_data()->mutable_data()->set_path("/nowhere");
  EXPECT_TRUE(serve(bad).has_failure());
  protocol::Job good;
  *good.mutable_inspect_data()->mutable_data() = data();
  EXPECT_TRUE(serve(good).has_data_facts());
}

}  // namespace
}  // namespace finch::trainer
