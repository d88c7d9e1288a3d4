#include "trainer/job_run.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <format>
#include <fstream>
#include <ranges>
#include <thread>

#include "protocol/artifact_store.hpp"
#include "search/search_space.hpp"
#include "trainer/active_clock.hpp"
#include "trainer/compression_jobs.hpp"
#include "trainer/exported_files.hpp"
#include "trainer/image_set.hpp"
#include "trainer/initial_weights.hpp"
#include "trainer/job_settings.hpp"
#include "trainer/peak_memory.hpp"
#include "trainer/soft_targets.hpp"
#include "trainer/supernet.hpp"
#include "trainer/supernet_training.hpp"
#include "trainer/teacher.hpp"
#include "trainer/teacher_ensemble.hpp"
#include "trainer/training_checkpoint.hpp"
#include "trainer/user_training_job.hpp"

namespace finch::trainer {
namespace {

using protocol::JobResult;
using Served = std::expected<JobResult, Error>;

constexpr std::int64_t kUntimedSteps = 2;
constexpr std::int64_t kRecalibrationImages = 2000;

// 0: all cores, shared with the other processes of this machine.
void use_threads(int threads, const ProcessGroup& group) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency()) / group.rendezvous().processes_here;
  at::set_num_threads(threads > 0 ? threads : std::max(1, cores));
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// One job with all that it needs; the functions below are one kind of job each.
struct JobRun {
  const protocol::ChildRequest& request;
  const Dataset& dataset;
  JobOutput& output;
  const std::filesystem::path& checkpoints;
  ProcessGroup& group;
  torch::Device device;

  std::expected<std::filesystem::path, Error> input(const protocol::ArtifactRef& artifact) const {
    const auto found = request.artifact_paths().find(artifact.sha256());
    if (found == request.artifact_paths().end()) {
      return std::unexpected(Error{std::format("the artifact {} was not sent with its job", artifact.sha256())});
    }
    return found->second;
  }

  // Of a job that may name some; nothing: none.
  std::expected<NamedTensors, Error> initial_weights_of(const auto& job) const {
    if (!job.has_initial_weights()) return NamedTensors();
    return input(job.initial_weights()).and_then(load_tensors);
  }

  ArtifactPath input_path() const {
    return [this](const auto& artifact) { return input(artifact); };
  }

  Classifier classifier(NetworkModule& module) const {
    module.eval();
    return [&module](const torch::Tensor& images) { return module.forward(images); };
  }

  // The leader's file, at every process.
  std::optional<std::filesystem::path> from_leader(std::optional<std::filesystem::path> file) const {
    const std::string bytes = group.from_leader(file && group.several() ? contents(*file) : "");
    if (bytes.empty() || group.leads()) return file;
    const auto copy = std::filesystem::path(request.output_folder()) / "checkpoint";
    std::ofstream(copy, std::ios::binary) << bytes;
    return copy;
  }

  void validate(NetworkModule& module, protocol::TrainedCandidate& trained,
                const std::function<void(double)>& progress) {
    const ConfusionCounts counts = confusion(classifier(module), dataset.validation, progress);
    trained.set_validation_top1(top1(counts));
    for (const auto& [pair, count] : counts) {
      trained.mutable_validation()->add_label(pair.first);
      trained.mutable_validation()->add_prediction(pair.second);
      trained.mutable_validation()->add_count(count);
    }
  }

  // That runs on every batch; null: none.
  std::expected<std::unique_ptr<LiveTeacher>, Error> live_teacher_of(const protocol::TrainCandidate& job,
                                                                     const search::Network& student) const {
    const auto kind = parse_feature_kind(job.recipe().distillation());
    if (!kind) return std::unexpected(kind.error());
    if (!job.has_teacher()) {
      if (*kind == FeatureKind::none) return nullptr;
      return std::unexpected(Error{"features are to be distilled, but the job names no teacher"});
    }
    const auto path = input(job.teacher());
    if (!path) return std::unexpected(path.error());
    if (*kind == FeatureKind::none) {
      auto teacher = load_teacher(*path, dataset, device);
      if (!teacher) return std::unexpected(teacher.error());
      return std::make_unique<LiveTeacher>(std::move(*teacher));
    }
    auto teacher = load_built_in_teacher(*path, dataset);
    if (!teacher) return std::unexpected(teacher.error());
    if (!*teacher) {
      return std::unexpected(Error{"a TorchScript teacher shows its answers alone; distillation = \"" +
                                   job.recipe().distillation() + "\" needs one that Finch trained"});
    }
    return LiveTeacher::with_features(std::move(*teacher), student, *kind);
  }

  Served inspect() {
    JobResult result;
    protocol::DataFacts& facts = *result.mutable_data_facts();
    facts.set_channels(dataset.train.channels);
    facts.set_height(dataset.train.height);
    facts.set_width(dataset.train.width);
    facts.mutable_class_names()->Add(dataset.class_names.begin(), dataset.class_names.end());
    facts.set_train_samples(dataset.train.size());
    facts.set_validation_samples(dataset.validation.size());
    facts.set_test_samples(dataset.test.size());
    facts.mutable_mean()->Add(dataset.mean.begin(), dataset.mean.end());
    facts.mutable_stddev()->Add(dataset.stddev.begin(), dataset.stddev.end());
    facts.set_data_hash(dataset.data_hash);
    facts.mutable_test_labels()->Add(dataset.test.labels.begin(), dataset.test.labels.end());

    constexpr std::size_t kMostNamed = 5;
    for (const std::string& why : dataset.skipped | std::views::take(kMostNamed)) facts.add_skipped_images(why);
    facts.set_skipped(std::ssize(dataset.skipped));
    auto artifact = write_image_set({&dataset.test}, dataset.class_names, output);
    if (!artifact) return std::unexpected(artifact.error());
    *facts.mutable_test_set() = std::move(*artifact);
    return result;
  }

  Served train_teacher(const protocol::TrainTeacher& job) {
    if (auto valid = need_validation(dataset); !valid) return std::unexpected(valid.error());
    use_threads(job.recipe().threads(), group);
    const ActiveClock clock;
    JobResult result;
    protocol::TrainedTeacher& trained = *result.mutable_trained_teacher();
    const bool mirrored = job.recipe().flip();
    std::vector<TeacherAnswers> answers;
    const auto answer = [&](const Classifier& teacher, double begin, double end) {
      answers.push_back(answers_of(teacher, dataset, mirrored, output.part(begin, end, "computing soft targets")));
    };
    const int given = job.torchscript_size() + job.logits_size();
    for (const protocol::ArtifactRef& file : job.torchscript()) {
      const auto path = input(file);
      if (!path) return std::unexpected(path.error());
      const auto teacher = load_teacher(*path, dataset, device);
      if (!teacher) return std::unexpected(teacher.error());
      const auto done = static_cast<double>(answers.size());
      answer(*teacher, done / given, (done + 1) / given);
      if (given == 1) *trained.mutable_model() = file;
    }
    for (const protocol::ArtifactRef& file : job.logits()) {
      const auto path = input(file);
      if (!path) return std::unexpected(path.error());
      auto read = read_answers(*path, dataset, mirrored);
      if (!read) return std::unexpected(read.error());
      answers.push_back(std::move(*read));
    }
    if (given == 0) {
      const auto options = training_options(job.recipe(), dataset, device);
      if (!options) return std::unexpected(options.error());
      auto network = teacher_network({dataset.train.channels, dataset.train.height, dataset.train.width},
                                     std::ssize(dataset.class_names));
      if (!network) return std::unexpected(network.error());
      torch::manual_seed(options->seed);
      NetworkModule module(std::move(*network), dataset.mean, dataset.stddev);
      Training training(module, dataset.train, {}, *options, nullptr, group);
      // Soft targets are one or two forward passes over the data; a pass costs a third of an epoch.
      const double trained_until = options->epochs / (options->epochs + (mirrored ? 0.75 : 0.375));
      if (auto ran = run(training, output.part(0, trained_until, "training the teacher")); !ran)
        return std::unexpected(ran.error());
      if (!group.leads()) return JobResult();
      auto artifact = output.write(serialize_teacher(module, dataset));
      if (!artifact) return std::unexpected(artifact.error());
      *trained.mutable_model() = std::move(*artifact);
      answer(classifier(module), trained_until, 1);
    }
    const TeacherAnswers all = ensemble(answers, job.recipe().temperature());
    const torch::Tensor labels = torch::tensor(dataset.validation.labels, torch::kLong);
    trained.set_validation_top1(all.validation.argmax(1).eq(labels).to(torch::kDouble).mean().item<double>());
    auto artifact = output.write(serialize_soft_targets(all.train, dataset));
    if (!artifact) return std::unexpected(artifact.error());
    *trained.mutable_soft_targets() = std::move(*artifact);
    trained.set_seconds(clock.seconds());
    return result;
  }

  Served export_images() {
    auto artifact = write_image_set({&dataset.train, &dataset.validation}, dataset.class_names, output);
    if (!artifact) return std::unexpected(artifact.error());
    JobResult result;
    *result.mutable_exported_images()->mutable_images() = std::move(*artifact);
    return result;
  }

  Served export_random(const protocol::ExportRandom& job) {
    auto network = decode(job.space(), job.genotype(), dataset);
    if (!network) return std::unexpected(network.error());
    torch::manual_seed(job.seed());
    NetworkModule module(std::move(*network), dataset.mean, dataset.stddev);
    auto exported = export_untrained(module, job, dataset, output);
    if (!exported) return std::unexpected(exported.error());
    JobResult result;
    *result.mutable_exported_network() = std::move(*exported);
    return result;
  }

  Served train_candidate(const protocol::TrainCandidate& job) {
    if (auto valid = need_validation(dataset); !valid) return std::unexpected(valid.error());
    const auto options = training_options(job.recipe(), dataset, device);
    if (!options) return std::unexpected(options.error());
    auto network = decode(job.space(), job.genotype(), dataset);
    if (!network) return std::unexpected(network.error());
    use_threads(job.recipe().threads(), group);
    torch::manual_seed(options->seed);
    NetworkModule module(std::move(*network), dataset.mean, dataset.stddev);
    JobResult result;
    protocol::TrainedCandidate& trained = *result.mutable_trained_candidate();
    const auto initial = initial_weights_of(job);
    if (!initial) return std::unexpected(initial.error());
    begin_with(*initial, module);
    if (job.has_parent_checkpoint()) {
      const auto path = input(job.parent_checkpoint());
      if (!path) return std::unexpected(path.error());
      const auto parent = load_tensors(*path);
      if (!parent) return std::unexpected(parent.error());
      trained.set_inherited_tensors(module.inherit(*parent));
    }
    const auto soft_targets = soft_targets_of(job, dataset, input_path());
    if (!soft_targets) return std::unexpected(soft_targets.error());
    auto live_teacher = live_teacher_of(job, module.network());
    if (!live_teacher) return std::unexpected(live_teacher.error());
    Training training(module, dataset.train, *soft_targets, *options, std::move(*live_teacher), group);
    const double trained_until = job.precisions().empty() ? 0.95 : 0.68;  // quantization may train again
    const auto timing = run(training, output.part(0, trained_until, "training"));
    if (!timing) return std::unexpected(timing.error());
    if (!group.leads()) return JobResult();
    trained.set_seconds(timing->seconds);
    trained.set_images_per_second(timing->images_per_second);
    validate(module, trained, output.part(trained_until, trained_until + 0.02, "validating"));
    auto checkpoint = output.write(serialize_tensors(module.state()));
    if (!checkpoint) return std::unexpected(checkpoint.error());
    *trained.mutable_checkpoint() = std::move(*checkpoint);

    if (auto done = export_trained(module, job, dataset, *options, *soft_targets, output, trained); !done)
      return std::unexpected(done.error());
    return result;
  }

  Served train_supernet(const protocol::TrainSupernet& job) {
    const auto options = training_options(job.recipe(), dataset, device);
    if (!options) return std::unexpected(options.error());
    const auto space = search_space(job.space(), dataset);
    if (!space) return std::unexpected(space.error());
    const auto soft_targets = soft_targets_of(job, dataset, input_path());
    if (!soft_targets) return std::unexpected(soft_targets.error());
    use_threads(job.recipe().threads(), group);
    torch::manual_seed(options->seed);
    Supernet supernet(**space, dataset.mean, dataset.stddev);
    const auto initial = initial_weights_of(job);
    if (!initial) return std::unexpected(initial.error());
    begin_with(*initial, supernet);
    SupernetTraining training(supernet, **space, dataset.train, *soft_targets,
                              {.training = *options,
                               .limits = {.parameters = job.limits().parameters(),
                                          .macs = job.limits().macs(),
                                          .peak_activation_bytes = job.limits().peak_activation_bytes()},
                               .sampling = job.spread() ? SubnetSampling::spread : SubnetSampling::sandwich,
                               .split_after = job.spread() ? 0.5 : 1.0,
                               .in_place_weight = job.spread() ? 0.0 : 0.5},
                              group);
    protocol::TrainSupernet of_any_path = job;
    of_any_path.mutable_data()->clear_path();
    TrainingCheckpoint checkpoint(checkpoints,
                                  protocol::sha256_hex(of_any_path.SerializeAsString() + dataset.split_hash));
    if (const auto path = from_leader(checkpoint.found()))
      (void)training.restore(*path);  // a damaged one: from the beginning
    while (training.step() < training.total_steps()) {
      if (auto made = training.make_step(); !made) return std::unexpected(made.error());
      output.progress(static_cast<double>(training.step()) / static_cast<double>(training.total_steps()),
                      "training the supernet");
      checkpoint.keep_if_due([&] { return training.checkpoint(); });
    }
    if (!group.leads()) return JobResult();
    JobResult result;
    protocol::TrainedSupernet& trained = *result.mutable_trained_supernet();
    auto artifact = output.write(supernet.serialize());
    if (!artifact) return std::unexpected(artifact.error());
    *trained.mutable_supernet() = std::move(*artifact);
    trained.set_seconds(training.seconds());
    trained.set_images_per_second(static_cast<double>(training.images()) / std::max(training.seconds(), 1e-9));
    checkpoint.discard();
    return result;
  }

  Served evaluate_subnet(const protocol::EvaluateSubnet& job) {
    if (auto valid = need_validation(dataset); !valid) return std::unexpected(valid.error());
    const ActiveClock clock;
    auto network = decode(job.space(), job.genotype(), dataset);
    if (!network) return std::unexpected(network.error());
    const auto path = input(job.supernet());
    if (!path) return std::unexpected(path.error());
    const auto supernet = Supernet::load(*path);
    if (!supernet) return std::unexpected(supernet.error());
    const auto subnet = supernet->subnet(std::move(*network));
    if (!subnet) return std::unexpected(subnet.error());
    use_threads(job.threads(), group);
    subnet->module->move_to(device);
    recalibrate(*subnet->module, dataset.train, kRecalibrationImages);
    JobResult result;
    protocol::TrainedCandidate& evaluated = *result.mutable_trained_candidate();
    validate(*subnet->module, evaluated, output.part(0.3, 1, "validating"));
    auto checkpoint = output.write(serialize_tensors(subnet->module->state()));
    if (!checkpoint) return std::unexpected(checkpoint.error());
    *evaluated.mutable_checkpoint() = std::move(*checkpoint);
    evaluated.set_seconds(clock.seconds());
    return result;
  }

  Served time_training(const protocol::TimeTraining& job) {
    auto options = training_options(job.recipe(), dataset, device);
    if (!options) return std::unexpected(options.error());
    if (job.steps() < 1) return std::unexpected(Error{"at least one training step must be timed"});
    auto network = decode(job.space(), job.genotype(), dataset);
    if (!network) return std::unexpected(network.error());
    use_threads(job.recipe().threads(), group);
    torch::manual_seed(options->seed);
    reset_peak_memory();
    NetworkModule module(std::move(*network), dataset.mean, dataset.stddev);
    const auto batch = static_cast<double>(std::min(options->batch_size, dataset.train.size()));
    options->epochs =
        static_cast<double>(job.steps() + kUntimedSteps) * batch / static_cast<double>(dataset.train.size());
    // Distillation costs next to nothing: its soft targets are looked up.
    Training training(module, dataset.train, {}, *options);
    for (std::int64_t i = 0; i < kUntimedSteps && training.step() + 1 < training.total_steps(); ++i) {
      if (auto made = training.make_step(); !made) return std::unexpected(made.error());
    }
    const auto timing = run(training, output.part(0, 1, "timing training steps"));
    if (!timing) return std::unexpected(timing.error());
    JobResult result;
    result.mutable_training_time()->set_images_per_second(timing->images_per_second);
    result.mutable_training_time()->set_peak_memory_bytes(peak_memory_bytes());
    return result;
  }

  Served serve() {
    const protocol::Job& job = request.job();
    switch (job.spec_case()) {
      case protocol::Job::kInspectData:
        return inspect();
      case protocol::Job::kTrainTeacher:
        return train_teacher(job.train_teacher());
      case protocol::Job::kExportImages:
        return export_images();
      case protocol::Job::kExportRandom:
        return export_random(job.export_random());
      case protocol::Job::kTrainCandidate:
        if (!job.train_candidate().has_user_trainer()) return train_candidate(job.train_candidate());
        return serve_user_training(job.train_candidate(), dataset, request.output_folder(), input_path(), output);
      case protocol::Job::kTrainSupernet:
        return train_supernet(job.train_supernet());
      case protocol::Job::kEvaluateSubnet:
        return evaluate_subnet(job.evaluate_subnet());
      case protocol::Job::kReadModel:
        return read_model(job.read_model(), dataset, input_path(), output);
      case protocol::Job::kCompressModel:
        use_threads(job.compress_model().recipe().threads(), group);
        return compress_model(job.compress_model(), dataset, input_path(), output, device);
      case protocol::Job::kReadWeights:
        return read_weights(job.read_weights(), dataset, input_path(), output);
      case protocol::Job::kTimeTraining:
        return time_training(job.time_training());
      default:
        return std::unexpected(Error{"this kind of job is for an agent, not for a trainer"});
    }
  }
};

}  // namespace

std::expected<protocol::JobResult, Error> run_job(const protocol::ChildRequest& request, const Dataset& dataset,
                                                  JobOutput& output, const std::filesystem::path& checkpoints,
                                                  ProcessGroup& group, torch::Device device) {
  return JobRun{request, dataset, output, checkpoints, group, device}.serve();
}

}  // namespace finch::trainer
