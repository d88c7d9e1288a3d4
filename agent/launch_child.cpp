#include "agent/launch_child.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <format>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "agent/core_choice.hpp"
#include "agent/evaluate_child.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/kernel_profile.hpp"
#include "agent/latency_rounds.hpp"
#include "agent/launch.pb.h"
#include "agent/launch_pipe.hpp"
#include "agent/launch_rights.hpp"
#include "agent/litert_backend.hpp"
#include "agent/machine_load.hpp"
#include "agent/onnxruntime_backend.hpp"
#include "agent/openvino_backend.hpp"
#include "agent/process_memory.hpp"
#include "agent/reference_check.hpp"
#include "agent/reference_network.hpp"
#include "agent/sandbox.hpp"
#include "agent/steady_run.hpp"
#include "protocol/model_format.hpp"

namespace finch::agent {
namespace {

constexpr int kEventDescriptor = 3;
constexpr std::size_t kSignatureValues = 16;

SessionSettings settings_of(const LaunchRequest& request, const std::string& engine_folder) {
  return {.provider = request.provider(),
          .threads = request.threads(),
          .profile = {},
          .engine_folder = engine_folder,
          .timing_folder = request.build_engine().timing_folder()};
}

std::expected<std::unique_ptr<InferenceSession>, Error> load_model(const std::string& model,
                                                                   const std::string& engine_folder,
                                                                   const LaunchRequest& request,
                                                                   InferenceBackend& backend) {
  if (const auto format = protocol::model_format(model); format != backend.format()) {
    return std::unexpected(Error{std::format("model {} is of the format {}, which {} does not read; run it with {}",
                                             model, format, request.runtime(), protocol::usual_runtime(format))});
  }
  auto session = backend.load(model, settings_of(request, engine_folder));
  if (session) return session;
  std::string why = session.error().message;
  if (const std::string prefix = "Load model from " + model + " failed:"; why.starts_with(prefix)) {
    why.erase(0, prefix.size());
  }
  if (why.contains("Protobuf parsing failed")) why = "it is no ONNX file, or not a whole one";
  return std::unexpected(Error{std::format("model {} cannot be loaded: {}", model, why)});
}

std::expected<std::unique_ptr<InferenceSession>, Error> load_candidate(const LaunchRequest& request,
                                                                       InferenceBackend& backend) {
  return load_model(request.model(), request.engine_folder(), request, backend);
}

// An engine is made for one batch.
Batches batches_of(const LaunchRequest& request) {
  return {.size = request.batch(), .always_whole = !request.engine_folder().empty()};
}

InputShapes shapes_of(const LaunchRequest& request) {
  InputShapes shapes;
  for (const auto& shape : request.shapes()) shapes[shape.name()] = {shape.extents().begin(), shape.extents().end()};
  return shapes;
}

// CLOCK_MONOTONIC, like the agent's power samples.
Clock steady_clock() {
  return [] { return std::chrono::steady_clock::now().time_since_epoch(); };
}

// A runtime that computes wrongly is none.
std::expected<LaunchEvent, Error> probe(InferenceBackend& backend) {
  if (auto right = check_reference_network(backend); !right) return std::unexpected(right.error());
  LaunchEvent event;
  event.mutable_probe()->set_version(backend.version());
  for (const std::string& provider : backend.providers()) event.mutable_probe()->add_providers(provider);
  event.mutable_probe()->set_engine_builder(backend.engine_builder());
  return event;
}

// Some runtimes compile when the shapes are known, others in the first run.
std::expected<LaunchEvent, Error> build_engine(const LaunchRequest& request, InferenceBackend& backend) {
  const Clock clock = steady_clock();
  const auto begin = clock();
  auto session = load_candidate(request, backend);
  if (!session) return std::unexpected(session.error());
  const auto inputs = bind_fixed_inputs(**session, request.batch(), shapes_of(request));
  if (!inputs) return std::unexpected(inputs.error());
  if (auto ran = (*session)->run(); !ran) return std::unexpected(ran.error());
  LaunchEvent event;
  event.mutable_engine()->set_seconds(Seconds(clock() - begin).count());
  return event;
}

std::expected<LaunchEvent, Error> measure_latency(const LaunchRequest& request, InferenceBackend& backend,
                                                  const std::function<void(double)>& on_progress) {
  const LatencyTask& task = request.latency();
  const Clock clock = steady_clock();
  auto candidate = load_candidate(request, backend);
  if (!candidate) return std::unexpected(candidate.error());
  // The reference network is always on one thread of the plain CPU provider: its latency is a property of the device
  // alone. A rival is deployed like the candidate.
  const bool has_rival = !task.rival().empty();
  auto reference = has_rival ? load_model(task.rival(), task.rival_engine_folder(), request, backend)
                             : backend.load(reference_network(backend.format()), SessionSettings{});
  if (!reference && has_rival) return std::unexpected(reference.error());
  if (!reference) return std::unexpected(Error{"the reference network: " + reference.error().message});
  const auto candidate_inputs = bind_fixed_inputs(**candidate, request.batch(), shapes_of(request));
  if (!candidate_inputs) return std::unexpected(candidate_inputs.error());
  const auto reference_inputs = has_rival ? bind_fixed_inputs(**reference, request.batch(), shapes_of(request))
                                          : bind_fixed_inputs(**reference, 1);
  if (!reference_inputs) return std::unexpected(reference_inputs.error());

  LaunchEvent event;
  LatencyResult& result = *event.mutable_latency();
  result.set_runtime_version(backend.version());
  for (const std::string& provider : backend.providers()) result.add_providers(provider);

  for (const NodePlacement& placed : (*candidate)->placements()) {
    Placement& placement = *result.add_placements();
    placement.set_provider(placed.provider);
    placement.set_nodes(placed.nodes);
    for (const std::string& operation : placed.operators) placement.add_operators(operation);
  }

  // The output for the fixed input: the same in every launch, or something is broken.
  if ((*candidate)->outputs().empty()) return std::unexpected(Error{"the model has no output"});
  if (auto ran = (*candidate)->run(); !ran) return std::unexpected(ran.error());
  const auto output = (*candidate)->output(0);
  if (!output) return std::unexpected(output.error());
  result.set_outputs_finite(std::ranges::all_of(output->values, [](float value) { return std::isfinite(value); }));
  for (std::size_t i = 0; i < std::min(kSignatureValues, output->values.size()); ++i) {
    result.add_signature(output->values[i]);
  }

  WarmUpPlan plan{.minimum = Seconds(task.warm_up_minimum_seconds()),
                  .cap = Seconds(task.warm_up_cap_seconds()),
                  .agreement = task.warm_up_agreement(),
                  .minimum_runs = task.warm_up_runs()};
  // The candidate last: it is the one that must be warm. The reference is small and settles sooner.
  const WarmUpPlan reference_plan{
      .minimum = plan.minimum / 3, .cap = plan.cap / 3, .agreement = plan.agreement, .minimum_runs = plan.minimum_runs};
  if (auto warm = warm_up(**reference, reference_plan, clock); !warm) return std::unexpected(warm.error());
  const auto settled = warm_up(**candidate, plan, clock);
  if (!settled) return std::unexpected(settled.error());
  result.set_warm_up_settled(*settled);
  on_progress(0);

  const SystemFiles files(request.root());
  const LoadSnapshot before = read_load(files);
  auto latencies = measure_rounds(**candidate, **reference,
                                  {.rounds = task.rounds(),
                                   .candidate_block = Seconds(task.candidate_block_seconds()),
                                   .reference_block = Seconds(task.reference_block_seconds()),
                                   .candidate_block_queries = task.candidate_block_queries(),
                                   .seed = task.seed()},
                                  clock, [&](int round) { on_progress(static_cast<double>(round) / task.rounds()); });
  if (!latencies) return std::unexpected(latencies.error());
  *result.mutable_load() = load_between(before, read_load(files));
  result.mutable_candidate_ms()->Assign(latencies->candidate_ms.begin(), latencies->candidate_ms.end());
  result.mutable_candidate_median_ms()->Assign(latencies->candidate_median_ms.begin(),
                                               latencies->candidate_median_ms.end());
  result.mutable_reference_median_ms()->Assign(latencies->reference_median_ms.begin(),
                                               latencies->reference_median_ms.end());
  return event;
}

std::expected<LaunchEvent, Error> measure_steadily(const LaunchRequest& request, InferenceBackend& backend,
                                                   const std::function<void(double)>& on_progress) {
  const SteadyTask& task = request.steady();
  auto session = load_candidate(request, backend);
  if (!session) return std::unexpected(session.error());
  const auto inputs = bind_fixed_inputs(**session, request.batch(), shapes_of(request));
  if (!inputs) return std::unexpected(inputs.error());
  const Clock clock = steady_clock();
  const auto settled = warm_up(**session,
                               {.minimum = Seconds(task.warm_up_minimum_seconds()),
                                .cap = Seconds(task.warm_up_cap_seconds()),
                                .agreement = task.warm_up_agreement(),
                                .minimum_runs = task.warm_up_runs()},
                               clock);
  if (!settled) return std::unexpected(settled.error());
  const SleepUntil sleep_until = [](std::chrono::nanoseconds until) {
    std::this_thread::sleep_until(std::chrono::steady_clock::time_point(until));
  };
  auto run = run_steadily(**session, {.duration = Seconds(task.seconds()), .rate_hz = task.rate_hz()}, clock,
                          sleep_until, on_progress);
  if (!run) return std::unexpected(run.error());
  LaunchEvent event;
  SteadyResult& result = *event.mutable_steady();
  result.set_begin_ns(run->begin.count());
  result.set_end_ns(run->end.count());
  result.mutable_latency_ms()->Assign(run->latency_ms.begin(), run->latency_ms.end());
  result.set_missed_deadlines(run->missed_deadlines);
  result.set_warm_up_settled(*settled);
  return event;
}

std::expected<LaunchEvent, Error> measure_memory(const LaunchRequest& request, InferenceBackend& backend,
                                                 const std::function<void(double)>& on_progress) {
  LaunchEvent event;
  MemoryResult& result = *event.mutable_memory();
  const auto give_up = [&](const Error& why) {
    result.set_problem(why.message);
    return event;
  };
  if (auto reset = reset_peak_memory(); !reset) return give_up(reset.error());
  // The peak is now what is resident: the runtime alone.
  const auto runtime = peak_memory_bytes();
  if (!runtime) return give_up(runtime.error());
  result.set_runtime_bytes(*runtime);
  auto session = load_candidate(request, backend);
  if (!session) return std::unexpected(session.error());
  const auto inputs = bind_fixed_inputs(**session, request.batch(), shapes_of(request));
  if (!inputs) return std::unexpected(inputs.error());
  const auto load_peak = peak_memory_bytes();
  if (!load_peak) return give_up(load_peak.error());
  if (auto reset = reset_peak_memory(); !reset) return give_up(reset.error());
  for (int run = 0; run < request.memory().runs(); ++run) {
    on_progress(static_cast<double>(run) / request.memory().runs());
    if (auto ran = (*session)->run(); !ran) return std::unexpected(ran.error());
  }
  const auto run_peak = peak_memory_bytes();
  if (!run_peak) return give_up(run_peak.error());
  result.set_load_peak_bytes(*load_peak);
  result.set_run_peak_bytes(*run_peak);
  return event;
}

std::expected<LaunchEvent, Error> infer(const LaunchRequest& request, InferenceBackend& backend) {
  const InferTask& task = request.infer();
  auto session = load_candidate(request, backend);
  if (!session) return std::unexpected(session.error());
  if ((*session)->inputs().size() != 1 || (*session)->inputs()[0].type != ElementType::kFloat32) {
    return std::unexpected(
        Error{std::format("model {}: only a model with one float32 input can be run this way", request.model())});
  }
  std::ifstream file(task.input(), std::ios::binary);
  if (!file) return std::unexpected(Error{std::format("input {}: cannot be read", task.input())});
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::int64_t> shape(task.shape().begin(), task.shape().end());
  std::size_t expected = sizeof(float);
  for (const std::int64_t extent : shape) expected *= static_cast<std::size_t>(extent);
  if (bytes.size() != expected) {
    return std::unexpected(Error{
        std::format("input {} has {} bytes; the shape asks for {} (float32)", task.input(), bytes.size(), expected)});
  }
  if (auto bound = (*session)->bind(0, shape, std::as_writable_bytes(std::span(bytes))); !bound) {
    return std::unexpected(bound.error());
  }
  if (auto ran = (*session)->run(); !ran) return std::unexpected(ran.error());
  const auto output = (*session)->output(0);
  if (!output) return std::unexpected(output.error());
  std::ofstream out(task.output(), std::ios::binary);
  out.write(reinterpret_cast<const char*>(output->values.data()),
            static_cast<std::streamsize>(output->values.size() * sizeof(float)));
  out.close();
  if (!out) return std::unexpected(Error{std::format("output {}: cannot be written", task.output())});
  LaunchEvent event;
  event.mutable_infer()->mutable_shape()->Assign(output->shape.begin(), output->shape.end());
  return event;
}

std::expected<LaunchEvent, Error> profile(const LaunchRequest& request, InferenceBackend& backend) {
  const std::filesystem::path folder = request.profile().folder();
  SessionSettings settings = settings_of(request, request.engine_folder());
  settings.profile = folder / "profile";
  auto session = backend.load(std::filesystem::path(request.model()), settings);
  if (!session) return std::unexpected(session.error());
  const auto inputs = bind_fixed_inputs(**session, request.batch(), shapes_of(request));
  if (!inputs) return std::unexpected(inputs.error());
  for (int run = 0; run < request.profile().runs(); ++run) {
    if (auto ran = (*session)->run(); !ran) return std::unexpected(ran.error());
  }
  session->reset();  // which completes the file
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    auto kernels = read_kernel_profile(std::string(std::istreambuf_iterator<char>(file), {}));
    if (!kernels) return std::unexpected(kernels.error());
    LaunchEvent event;
    *event.mutable_profile() = std::move(*kernels);
    return event;
  }
  return std::unexpected(Error{"the runtime has written no profile"});
}

bool send(const LaunchEvent& event) {
  return write_launch_message(kEventDescriptor, event);
}

// Latencies and logits go ahead in pieces: a frame is limited.
bool send_result(LaunchEvent& result) {
  constexpr int kValuesAMessage = 100'000;
  google::protobuf::RepeatedField<double> all;
  if (result.has_latency()) all.Swap(result.mutable_latency()->mutable_candidate_ms());
  if (result.has_steady()) all.Swap(result.mutable_steady()->mutable_latency_ms());
  if (result.has_logits()) all.Swap(result.mutable_logits()->mutable_values());
  for (int first = 0; first < all.size(); first += kValuesAMessage) {
    LaunchEvent piece;
    const int last = std::min(first + kValuesAMessage, all.size());
    piece.mutable_samples()->mutable_candidate_ms()->Assign(all.begin() + first, all.begin() + last);
    if (!send(piece)) return false;
  }
  return send(result);
}

}  // namespace

std::expected<LaunchEvent, Error> perform_launch(const LaunchRequest& request, InferenceBackend& backend,
                                                 const std::function<void(double)>& on_progress) {
  switch (request.task_case()) {
    case LaunchRequest::kProbe:
      return probe(backend);
    case LaunchRequest::kLatency:
      return measure_latency(request, backend, on_progress);
    case LaunchRequest::kSteady:
      return measure_steadily(request, backend, on_progress);
    case LaunchRequest::kMemory:
      return measure_memory(request, backend, on_progress);
    case LaunchRequest::kInfer:
      return infer(request, backend);
    case LaunchRequest::kBuildEngine:
      return build_engine(request, backend);
    case LaunchRequest::kProfile:
      return profile(request, backend);
    case LaunchRequest::kEvaluate: {
      auto session = load_candidate(request, backend);
      if (!session) return std::unexpected(session.error());
      return evaluate_session(**session, request.evaluate(), batches_of(request), on_progress);
    }
    case LaunchRequest::kLogits: {
      auto session = load_candidate(request, backend);
      if (!session) return std::unexpected(session.error());
      return logits_of_session(**session, request.logits().images(), batches_of(request), request.logits().mirrored(),
                               on_progress);
    }
    case LaunchRequest::TASK_NOT_SET:
      break;
  }
  return std::unexpected(Error{"the request names no task; `measure-launch` is for finch-agent itself"});
}

namespace {

// Runtimes put many words around it.
bool is_out_of_memory(const std::string& message) {
  return message.contains("bad_alloc") || message.contains("Failed to allocate memory") ||
         message.contains("out of memory");
}

std::expected<std::unique_ptr<InferenceBackend>, Error> open_runtime(const InferenceRuntime& runtime,
                                                                     const std::filesystem::path& library) {
  if (runtime.name == "openvino") return open_openvino(library);
  if (runtime.name == "litert") return open_litert(library);
  return open_onnxruntime(library);
}

std::expected<std::filesystem::path, Error> library_for(const LaunchRequest& request) {
  const InferenceRuntime* runtime = find_runtime(request.runtime());
  if (runtime == nullptr) {
    return std::unexpected(
        Error{std::format("there is no runtime '{}'; use one of {}", request.runtime(), runtime_names()), false, true});
  }
  const auto library = find_library(*runtime, request.library());
  if (!library) return std::unexpected(Error{library.error().message, false, !request.library().empty()});
  return *library;
}

std::expected<LaunchEvent, Error> load_and_perform(const LaunchRequest& request, const std::filesystem::path& library) {
  auto backend = open_runtime(*find_runtime(request.runtime()), library);
  if (!backend) return std::unexpected(Error{backend.error().message, false, !request.library().empty()});
  try {
    auto result = perform_launch(request, **backend, [](double fraction) {
      LaunchEvent event;
      event.mutable_progress()->set_fraction(fraction);
      send(event);
    });
    // The runtime is there: what fails now fails because of the model or what was given to it.
    if (!result) return std::unexpected(Error{result.error().message, false, true});
    if (result->has_probe()) result->mutable_probe()->set_library(library.string());
    return result;
  } catch (const std::bad_alloc&) {
    return std::unexpected(Error{"std::bad_alloc", false, true});
  }
}

}  // namespace

int serve_launch() {
  // The agent gone, nobody reads the result.
  std::signal(SIGPIPE, SIG_IGN);
  if (fcntl(kEventDescriptor, F_GETFD) < 0) return 2;
  LaunchRequest request;
  if (!read_launch_message(STDIN_FILENO, request)) return 2;
  if (request.runtime().empty()) request.set_runtime(std::string(inference_runtimes().front().name));
  const auto fail = [&](const Error& error) {
    LaunchEvent event;
    event.mutable_failed()->set_message(error.message);
    event.mutable_failed()->set_bad_input(error.bad_input);
    event.mutable_failed()->set_out_of_memory(is_out_of_memory(error.message));
    return send(event) ? 0 : 1;
  };

  // Before the runtime is loaded: its threads take over the cores of the thread that makes them.
  if (request.has_latency() || request.has_steady()) {
    if (auto pinned = pin_to_cores(choose_cores(SystemFiles(request.root()), allowed_cores(), request.threads()));
        !pinned) {
      return fail(pinned.error());
    }
  }
  // The file by which the peak is reset cannot be opened later.
  if (request.has_memory()) static_cast<void>(reset_peak_memory());
  const auto library = library_for(request);
  if (!library) return fail(library.error());
  constexpr std::int64_t kLargestOutput = std::int64_t{4} << 30U;
  // CUDA opens files to write, and removes its socket's: there it is Landlock alone that tells which, too.
  const bool writes =
      request.has_infer() || request.has_profile() || request.has_build_engine() || uses_devices(request);
  const SandboxLimits limits{.memory_bytes = request.limits().memory_bytes(),
                             .processor_time = std::chrono::seconds(request.limits().processor_seconds()),
                             .file_bytes = writes ? kLargestOutput : 0,
                             .may_write_files = writes,
                             .may_listen_locally = uses_devices(request),
                             .files = rights_of(request, *library)};
  if (auto entered = enter_sandbox(limits); !entered) return fail(entered.error());
  auto result = load_and_perform(request, *library);
  if (!result) return fail(result.error());
  return send_result(*result) ? 0 : 1;
}

}  // namespace finch::agent
