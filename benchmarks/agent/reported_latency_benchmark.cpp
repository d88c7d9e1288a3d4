// What measuring adds to a latency: rounds as a measurement takes them, in turn with a bare loop over the same session
// that looks at the clock before and after the whole block only. Prints the ratio of the two, block by block.
// Usage: reported_latency_benchmark MODEL [BLOCKS]   (20 blocks of 0.5 s each way unless told otherwise)
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "agent/core_choice.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/latency_rounds.hpp"
#include "agent/latency_statistics.hpp"
#include "agent/launch.pb.h"
#include "agent/launch_rights.hpp"
#include "agent/onnxruntime_backend.hpp"
#include "agent/sandbox.hpp"

using namespace finch::agent;

namespace {

int fail(const Error& error) {
  std::fprintf(stderr, "reported_latency_benchmark: %s\n", error.message.c_str());
  return 1;
}

std::chrono::nanoseconds now() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

// Milliseconds an inference, of `runs` in a row.
std::expected<double, Error> bare_loop(InferenceSession& session, int runs) {
  const auto start = now();
  for (int i = 0; i < runs; ++i) {
    if (auto ran = session.run(); !ran) return std::unexpected(ran.error());
  }
  return std::chrono::duration<double, std::milli>(now() - start).count() / runs;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return fail({"name a model"});
  const int blocks = argc > 2 ? std::max(std::atoi(argv[2]), 6) : 20;
  if (auto pinned = pin_to_cores(choose_cores(SystemFiles(), allowed_cores(), 1)); !pinned) return fail(pinned.error());
  const auto library = find_library(*find_runtime("onnxruntime"), "");
  if (!library) return fail(library.error());
  // As in the measuring process: behind the filter of its sandbox, with the files that its task needs.
  LaunchRequest request;
  request.set_model(argv[1]);
  request.mutable_latency();
  // What is printed may go to a file.
  const SandboxLimits limits{.file_bytes = 1 << 30, .files = rights_of(request, *library)};
  if (auto entered = enter_sandbox(limits); !entered) return fail(entered.error());
  auto backend = open_onnxruntime(*library);
  if (!backend) return fail(backend.error());
  auto session = (*backend)->load(argv[1], SessionSettings{});
  if (!session) return fail(session.error());
  const auto inputs = bind_fixed_inputs(**session, 1);
  if (!inputs) return fail(inputs.error());
  if (auto warm = warm_up(**session, {}, now); !warm) return fail(warm.error());

  const auto guess = bare_loop(**session, 10);
  if (!guess) return fail(guess.error());
  const int runs = std::max(1, static_cast<int>(500 / *guess));
  std::vector<double> reported, bare, reported_means;
  for (int block = 0; block < blocks; ++block) {
    // One block of a session against itself, as a round with a rival has it.
    const RoundPlan plan{.rounds = 1,
                         .candidate_block = Seconds(0.5),
                         .reference_block = Seconds(0),
                         .seed = static_cast<std::uint64_t>(block)};
    const auto round = measure_rounds(**session, **session, plan, now);
    if (!round) return fail(round.error());
    const auto loop = bare_loop(**session, runs);
    if (!loop) return fail(loop.error());
    reported.push_back(round->candidate_median_ms.front());
    reported_means.push_back(std::accumulate(round->candidate_ms.begin(), round->candidate_ms.end(), 0.0) /
                             static_cast<double>(round->candidate_ms.size()));
    bare.push_back(*loop);
  }
  const auto print = [&](const char* what, const std::vector<double>& values) {
    const auto ratios = paired_log_ratios(values, bare);
    const auto interval = median_interval(ratios, 0.05);
    std::printf("%s: %.5f ms, bare loop %.5f ms, ratio %.4f (95 %% interval %.4f to %.4f)\n", what, median(values),
                median(bare), std::exp(interval->median), std::exp(interval->low), std::exp(interval->high));
  };
  std::printf("%s, %d blocks of %d inferences\n", argv[1], blocks, runs);
  print("reported, means  ", reported_means);
  print("reported, medians", reported);
  return 0;
}
