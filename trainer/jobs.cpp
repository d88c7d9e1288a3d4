#include "trainer/jobs.hpp"

#include <torch/torch.h>

#include <new>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/job_output.hpp"
#include "trainer/job_run.hpp"
#include "trainer/job_settings.hpp"

namespace finch::trainer {
namespace {

using protocol::JobResult;

JobResult failure(std::string message, bool retryable) {
  JobResult result;
  result.mutable_failure()->set_message(std::move(message));
  result.mutable_failure()->set_retryable(retryable);
  return result;
}

const protocol::DataSpec* data_of(const protocol::Job& job) {
  switch (job.spec_case()) {
    case protocol::Job::kInspectData:
      return &job.inspect_data().data();
    case protocol::Job::kTrainTeacher:
      return &job.train_teacher().data();
    case protocol::Job::kExportImages:
      return &job.export_images().data();
    case protocol::Job::kExportRandom:
      return &job.export_random().data();
    case protocol::Job::kTrainCandidate:
      return &job.train_candidate().data();
    case protocol::Job::kTrainSupernet:
      return &job.train_supernet().data();
    case protocol::Job::kEvaluateSubnet:
      return &job.evaluate_subnet().data();
    case protocol::Job::kReadModel:
      return &job.read_model().data();
    case protocol::Job::kCompressModel:
      return &job.compress_model().data();
    case protocol::Job::kReadWeights:
      return &job.read_weights().data();
    case protocol::Job::kTimeTraining:
      return &job.time_training().data();
    default:
      return nullptr;
  }
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

JobResult out_of_memory() {
  return failure("the training ran out of memory; a smaller batch_size needs less", true);
}

}  // namespace

bool is_training(const protocol::Job& job) {
  const protocol::TrainTeacher& teacher = job.train_teacher();
  const bool given = teacher.torchscript_size() + teacher.logits_size() > 0;
  const bool by_the_user = job.train_candidate().has_user_trainer();
  return (job.has_train_teacher() && !given) || (job.has_train_candidate() && !by_the_user) || job.has_train_supernet();
}

struct JobServer::LoadedData {
  DataSource source;
  Dataset dataset;
};

JobServer::JobServer(std::filesystem::path checkpoints, ProcessGroup& group, torch::Device device)
    : checkpoints_(std::move(checkpoints)), group_(group), device_(device) {}
JobServer::~JobServer() = default;

void JobServer::serve(const protocol::ChildRequest& request, const Emit& emit) {
  // Denormals make kernels many times slower; set before the first kernel, so that its threads inherit it.
  at::globalContext().setFlushDenormal(true);
  const auto serve = [&]() -> std::expected<JobResult, Error> {
    const protocol::DataSpec* const spec = data_of(request.job());
    if (spec == nullptr) return std::unexpected(Error{"this kind of job is for an agent, not for a trainer"});
    JobOutput output(request.output_folder(), emit);
    std::string trouble;
    if (!data_ || data_->source != data_source(*spec)) {
      output.progress(0, "reading " + spec->path());
      data_.reset();
      if (auto dataset = load_dataset(data_source(*spec)))
        data_ = std::make_unique<LoadedData>(data_source(*spec), std::move(*dataset));
      else
        trouble = dataset.error().message;
    }
    ProcessGroup& group = is_training(request.job()) ? group_ : ProcessGroup::alone();
    if (trouble = group.any_error(trouble); !trouble.empty()) return std::unexpected(Error{trouble});
    return run_job(request, data_->dataset, output, checkpoints_, group, device_);
  };
  JobResult result;
  try {
    auto served = serve();
    result = served ? std::move(*served) : failure(served.error().message, false);
  } catch (const std::bad_alloc&) {
    broken_ = true;
    result = out_of_memory();
  } catch (const c10::Error& error) {
    broken_ = true;
    const std::string reason = first_line(error.what_without_backtrace());
    result = reason.contains("allocate memory") || reason.contains("out of memory")
                 ? out_of_memory()
                 : failure("LibTorch failed: " + reason, false);
  } catch (const std::exception& error) {
    broken_ = true;
    result = failure("training failed: " + first_line(error.what()), false);
  }
  // Together, the processes cannot find back into step; one that another one left behind may do better next time.
  broken_ = broken_ && group_.several() && is_training(request.job());
  if (broken_) result.mutable_failure()->set_retryable(true);
  protocol::ChildEvent event;
  *event.mutable_result() = std::move(result);
  emit(event);
}

}  // namespace finch::trainer
