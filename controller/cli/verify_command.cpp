#include <cstdio>
#include <nlohmann/json.hpp>

#include "controller/campaign/campaign.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/farm_question.hpp"
#include "controller/cli/interrupt.hpp"

namespace finch::controller {
namespace {

void print(const std::vector<FileCheck>& checks) {
  std::printf("%-6s %-5s %10s %10s  %-12s %12s %12s %7s  %s\n", "model", "prec.", "top-1 then", "now", "device",
              "median then", "now", "ratio", "finding");
  for (const FileCheck& check : checks) {
    std::string finding;
    for (const std::string& difference : check.differences) finding += (finding.empty() ? "" : "; ") + difference;
    if (check.measurements.empty()) {
      std::printf("%-6s %-5s %s\n", check.model.c_str(), check.precision.c_str(), finding.c_str());
      continue;
    }
    for (const auto& [then, now] : check.measurements) {
      std::printf("%-6s %-5s %8.2f %% %8.2f %%  %-12s %9.4f ms %9.4f ms %7.3f  %s\n", check.model.c_str(),
                  check.precision.c_str(), 100 * check.top1_then, 100 * check.top1_now, then.device.c_str(),
                  then.median_ms, now.median_ms, now.median_ms / then.median_ms,
                  finding.empty() ? ("as it was (" + now.verdict + ")").c_str() : finding.c_str());
    }
  }
}

nlohmann::ordered_json json(const std::vector<FileCheck>& checks) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const FileCheck& check : checks) {
    nlohmann::ordered_json measurements = nlohmann::ordered_json::array();
    for (const auto& [then, now] : check.measurements) {
      measurements.push_back({{"device", then.device},
                              {"median_ms", {{"then", then.median_ms}, {"now", now.median_ms}}},
                              {"verdict", {{"then", then.verdict}, {"now", now.verdict}}}});
    }
    all.push_back({{"model", check.model},
                   {"path", check.path},
                   {"precision", check.precision},
                   {"top1", {{"then", check.top1_then}, {"now", check.top1_now}}},
                   {"measurements", measurements},
                   {"differences", check.differences}});
  }
  return all;
}

ExitCode verify(const std::string& run, bool as_json) {
  auto campaign = Campaign::open(run);
  if (!campaign) return fail(campaign.error());
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  const auto host = FarmHost::start(*home, (*campaign)->config().local_profile());
  if (!host) return fail(host.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  FarmQuestion farm(*home, *store, "verify", interrupt.token());
  const auto checks = (*campaign)->verify(*home, [&](const JobRequest& request) { return farm.ask(request); });
  if (!checks) return fail(checks.error());
  if (as_json) {
    std::printf("%s\n", json(*checks).dump(2).c_str());
  } else {
    print(*checks);
  }
  const auto differing =
      std::ranges::count_if(*checks, [](const FileCheck& check) { return !check.differences.empty(); });
  if (differing == 0) return ExitCode::done;
  return fail({std::to_string(differing) + " of " + std::to_string(checks->size()) + " files are not as they were"});
}

}  // namespace

void add_verify_command(CLI::App& app, Command& chosen) {
  const auto run = std::make_shared<std::string>();
  const auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(
      "verify", "Check a front's files: hashes, accuracy and latency, tested and measured again on the devices");
  command->add_option("RUN", *run, "The run folder")->required();
  command->add_flag("--json", *as_json, "JSON instead of a table");
  command->footer(
      "A latency differs when it is off by more than 2 % and the intervals do not meet. Exit code 1 when anything "
      "differs.\n\nExample:\n  finch verify runs/first");
  command->callback([&chosen, run, as_json] { chosen = [run, as_json] { return verify(*run, *as_json); }; });
}

}  // namespace finch::controller
