#include <cstdio>
#include <memory>

#include "controller/bench/predictor_replay.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/cli/progress_bar.hpp"
#include "controller/cli/table_space.hpp"

namespace finch::controller {
namespace {

struct Arguments {
  std::string table;
  TableSpace space;
  bool json = false;
  PredictorReplayConfig replay;
};

ExitCode predict(const Arguments& arguments) {
  const auto space = arguments.space.make();
  if (!space) return fail(space.error());
  const auto table = MetricTable::read(arguments.table, **space, arguments.replay.columns());
  if (!table) return fail(table.error());
  const Interrupt interrupt;
  const auto scores = [&] {
    ProgressBar bar;
    return replay_predictor(
        *table, **space, arguments.replay, [&](double share) { bar.show(share); }, interrupt.token());
  }();
  if (!scores) return fail(scores.error());
  std::fputs((arguments.json ? to_json : to_text)(*scores, arguments.replay).c_str(), stdout);
  return ExitCode::done;
}

}  // namespace

void add_predict_command(CLI::App& table_bench, Command& chosen) {
  const auto arguments = std::make_shared<Arguments>();
  PredictorReplayConfig& replay = arguments->replay;
  CLI::App* command = table_bench.add_subcommand("predict", "How well a device's costs are predicted from few samples");
  command->add_option("--table", arguments->table, "CSV, plain or gzip: genotype (a digit a decision), metrics")
      ->required();
  arguments->space.add_options(*command);
  command->add_option("--metric", replay.metric, "The column to predict")->required();
  command->add_option("--known", replay.known, "Columns of devices that are known already");
  command->add_option("--known-samples", replay.known_samples, "Measurements of each known device")
      ->check(CLI::Range(2, 100'000))
      ->capture_default_str();
  command->add_option("--samples", replay.samples, "Measurements of the new device")
      ->check(CLI::Range(2, 100'000))
      ->capture_default_str();
  command->add_option("--seeds", replay.seeds, "Draws of the samples")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "JSON instead of a table");
  command->footer(
      "Example:\n  finch table-bench predict --table table.csv.gz --metric raspi4_latency_ms --known "
      "pixel3_latency_ms");
  command->callback([&chosen, arguments] { chosen = [arguments] { return predict(*arguments); }; });
}

}  // namespace finch::controller
