#include <cstdio>

#include "controller/campaign/campaign.hpp"
#include "controller/cli/commands.hpp"
#include "controller/report/report.hpp"

namespace finch::controller {
namespace {

ExitCode export_evaluations(const std::string& run, const std::string& output) {
  auto campaign = Campaign::open(run);
  if (!campaign) return fail(campaign.error());
  const auto result = (*campaign)->result();
  if (!result) return fail(result.error());
  const std::string text = evaluations_csv(*result);
  if (output.empty()) {
    std::fputs(text.c_str(), stdout);
    return ExitCode::done;
  }
  if (const auto written = write_atomically(output, text); !written) return fail(written.error());
  std::fprintf(stderr, "%zu candidates in %s\n", result->candidates.size(), output.c_str());
  return ExitCode::done;
}

}  // namespace

void add_export_command(CLI::App& app, Command& chosen) {
  const auto run = std::make_shared<std::string>(), output = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("export", "Write every candidate of a run as a CSV, for table-bench");
  command->add_option("RUN", *run, "The run folder")->required();
  command->add_option("--output", *output, "The file (default: standard output)")->type_name("FILE.csv");
  command->footer("Example:\n  finch export runs/first --output first.csv");
  command->callback([&chosen, run, output] { chosen = [run, output] { return export_evaluations(*run, *output); }; });
}

}  // namespace finch::controller
