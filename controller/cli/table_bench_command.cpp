#include <cstdio>
#include <format>
#include <fstream>
#include <set>

#include "controller/bench/table_replay.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/cli/progress_bar.hpp"
#include "controller/cli/table_space.hpp"
#include "controller/config/toml_reader.hpp"
#include "search/search_algorithm.hpp"

namespace finch::controller {
namespace {

struct Arguments {
  std::string table, out;
  TableSpace space;
  bool json = false;
  ReplayConfig replay;
};

std::expected<void, Error> check(const Arguments& arguments) {
  const auto wrong = [](const std::string& what) { return std::unexpected(Error{what, ExitCode::usage}); };
  const std::vector<std::string> names = search::search_algorithm_names();
  const std::string& algorithm = arguments.replay.algorithm;
  if (std::ranges::find(names, algorithm) == names.end()) {
    return wrong(std::format("--algorithm: there is no search algorithm '{}'{}", algorithm,
                             did_you_mean(algorithm, {names.begin(), names.end()})));
  }
  const std::vector<std::string> columns = arguments.replay.columns();
  const std::set<std::string> distinct(columns.begin(), columns.end());
  if (arguments.table.empty()) return wrong("name the table: --table FILE.csv.gz");
  if (columns.empty()) return wrong("name what to optimise: --maximize COLUMN, --minimize COLUMN");
  if (distinct.size() < columns.size()) return wrong("a column is named twice among --maximize and --minimize");
  for (const std::string& cheap : arguments.replay.cheap) {
    if (!distinct.contains(cheap)) {
      return wrong(std::format("--cheap: '{}' is none of the objectives{}", cheap, did_you_mean(cheap, distinct)));
    }
  }
  return {};
}

ExitCode table_bench(const Arguments& arguments) {
  if (const auto checked = check(arguments); !checked) return fail(checked.error());
  const auto space = arguments.space.make();
  if (!space) return fail(space.error());
  const auto table = MetricTable::read(arguments.table, **space, arguments.replay.columns());
  if (!table) return fail(table.error());
  std::ofstream out;
  if (!arguments.out.empty()) {
    out.open(arguments.out);
    if (!out) return fail({arguments.out + ": it cannot be written", ExitCode::usage});
  }
  const Interrupt interrupt;
  auto replay = [&] {
    ProgressBar bar;
    return replay_on_table(
        *table, **space, arguments.replay, [&](double share) { bar.show(share); }, interrupt.token());
  }();
  if (!replay) return fail(replay.error());
  if (out.is_open() && !(out << to_jsonl(*replay, arguments.replay) << std::flush))
    return fail({arguments.out + ": it could not be written; is the disk full?"});
  std::fputs((arguments.json ? to_json : to_text)(*replay, arguments.replay).c_str(), stdout);
  return ExitCode::done;
}

}  // namespace

void add_table_bench_command(CLI::App& app, Command& chosen) {
  const auto arguments = std::make_shared<Arguments>();
  ReplayConfig& replay = arguments->replay;
  CLI::App* command = app.add_subcommand("table-bench", "Replay a search on a table of measurements");
  command->add_option("--table", arguments->table, "CSV, plain or gzip: genotype (a digit a decision), metrics");
  arguments->space.add_options(*command);
  command->add_option("--maximize", replay.maximize, "Columns in percent; told as error, 100 - value");
  command->add_option("--minimize", replay.minimize, "Columns of costs");
  command->add_option("--cheap", replay.cheap, "Objectives that are known before an evaluation");
  command->add_option("--algorithm", replay.algorithm, "The search algorithm")->capture_default_str();
  command->add_option("--proxy", replay.proxy, "Score of untrained networks that surrogate learns from")
      ->check(CLI::IsMember(search::proxy_names()))
      ->capture_default_str();
  command->add_option("--population", replay.population, "Of the algorithms that have one")->capture_default_str();
  command->add_option("--evaluations", replay.evaluations, "Genotypes each search may ask for")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--seeds", replay.seeds, "Searches, with seeds 1, 2, ...")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_option("--jobs", replay.jobs, "Searches at once")->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_option("--reference", replay.reference,
                      "One value an objective: errors, then costs; default: the worst of the true front x 1.1");
  command->add_option("--out", arguments->out, "Write every evaluation here, JSON lines");
  command->add_flag("--json", arguments->json, "JSON instead of a table");
  command->footer(
      "Example:\n  finch table-bench --table table.csv.gz --space nasbench201 --maximize accuracy --minimize "
      "latency_ms "
      "--evaluations 200 --seeds 31");
  add_predict_command(*command, chosen);
  command->callback([&chosen, arguments, command] {
    if (command->get_subcommands().empty()) chosen = [arguments] { return table_bench(*arguments); };
  });
}

}  // namespace finch::controller
