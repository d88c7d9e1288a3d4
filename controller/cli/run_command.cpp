#include <chrono>
#include <cstdio>
#include <format>
#include <string>
#include <vector>

#include "controller/campaign/campaign.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/compress_resume.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/report/metrics.hpp"
#include "controller/report/report.hpp"
#include "controller/report/status_view.hpp"

namespace finch::controller {
namespace {

struct RunOptions {
  std::string file, output, extend, metrics;
  std::optional<std::uint64_t> seed;
  bool json = false;
};

void print_front(const CampaignResult& result, const std::filesystem::path& folder) {
  std::printf("%-6s %-5s %9s %11s %25s %11s %10s %10s %8s %8s  %s\n", "model", "prec.", "top-1", "median",
              "95 % interval", "p99", "peak mem.", "file", "params", "MACs", "verdict");
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      for (const MeasurementInfo& m : file.measurements) {
        const std::string where = file.measurements.size() > 1 ? " on " + m.device : "";
        std::printf(
            "%-6s %-5s %7.2f %% %8.4f ms %10.4f - %9.4f ms %8.4f ms %6.1f MiB %6.1f KiB %6.1f k %6.2f M  %s%s\n",
            model.id.c_str(), file.precision.c_str(), file.accuracy ? 100 * file.accuracy->top1 : 0.0, m.median_ms,
            m.ci_low_ms, m.ci_high_ms, m.p99_ms, static_cast<double>(m.run_peak_bytes) / (1 << 20),
            static_cast<double>(file.size_bytes) / 1024, static_cast<double>(model.parameters) / 1e3,
            static_cast<double>(model.macs) / 1e6, m.verdict.c_str(), where.c_str());
      }
    }
    for (const std::string& note : model.notes) std::printf("       %s\n", note.c_str());
  }
  std::printf("\n%zu models on the front. Report: %s\n", result.models.size(), (folder / "report.html").c_str());
}

ExitCode write_and_print(Campaign& campaign, const std::filesystem::path& folder, bool json) {
  const auto result = campaign.result();
  if (!result) return fail(result.error());
  if (const auto written = write_report(*result, folder); !written) return fail(written.error());
  if (json) {
    std::fputs(front_json(*result).c_str(), stdout);
  } else {
    print_front(*result, folder);
  }
  return ExitCode::done;
}

ExitCode drive(Campaign& campaign, const std::filesystem::path& folder, const RunOptions& options,
               const Interrupt& interrupt) {
  const auto home = open_home();
  if (!home) return fail(home.error());
  std::unique_ptr<MetricsServer> metrics;
  if (!options.metrics.empty()) {
    auto started = MetricsServer::start(options.metrics);
    if (!started) return fail(started.error());
    metrics = std::move(*started);
  }
  std::vector<std::string> boards;
  for (const DeviceConfig& device : campaign.config().devices) {
    for (const std::string& board : device.all_boards()) boards.push_back(board);
  }
  if (const auto checked = check_local_agent(*home, boards); !checked) return fail(checked.error());
  auto host = FarmHost::start(*home, campaign.config().local_profile());
  if (!host) return fail(host.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  const auto view = make_status_view();
  const auto ran = campaign.run(
      *home, *store,
      [&](const CampaignStatus& status) {
        CampaignStatus shown = status;
        for (std::string& line : (*host)->take_log()) shown.log.push_back(std::move(line));
        view->show(shown);
        if (metrics) metrics->update(shown);
      },
      interrupt.token());
  view->finish();
  if (!ran) return fail(ran.error());
  return write_and_print(campaign, folder, options.json);
}

std::filesystem::path default_folder(const std::string& name) {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return std::filesystem::path("runs") / std::format("{}-{:%Y%m%d-%H%M%S}", name, now);
}

ExitCode run(const RunOptions& options) {
  auto config = load_campaign(options.file);
  if (!config) return fail(config.error());
  if (options.seed) config->seed = *options.seed;
  if (const auto resolved = resolve(*config); !resolved) return fail(resolved.error());
  const Interrupt interrupt;
  const std::filesystem::path folder = !options.extend.empty()  ? std::filesystem::path(options.extend)
                                       : options.output.empty() ? default_folder(config->name)
                                                                : std::filesystem::path(options.output);
  auto campaign = options.extend.empty() ? Campaign::create(*config, folder) : Campaign::extend(*config, folder);
  if (!campaign) return fail(campaign.error());
  return drive(**campaign, folder, options, interrupt);
}

ExitCode resume(const RunOptions& options) {
  if (is_compression(options.file)) return resume_compression(options.file, options.json);
  const Interrupt interrupt;
  auto campaign = Campaign::open(options.file);
  if (!campaign) return fail(campaign.error());
  if ((*campaign)->finished()) {
    std::fprintf(stderr, "finch: this campaign is finished; nothing is left to do\n");
    return write_and_print(**campaign, options.file, options.json);
  }
  return drive(**campaign, options.file, options, interrupt);
}

}  // namespace

void add_run_commands(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App* run_command = app.add_subcommand("run", "Run a campaign: search, train, measure, report");
  run_command->add_option("FILE", options->file, "The campaign, TOML")->required();
  CLI::Option* output =
      run_command->add_option("--output", options->output, "The run folder (default: runs/NAME-DATE-TIME)")
          ->type_name("DIR");
  run_command
      ->add_option("--extend", options->extend,
                   "Go on in this run folder with FILE's settings; what is known is judged anew")
      ->type_name("RUN")
      ->excludes(output);
  run_command->add_option("--seed", options->seed, "Overrides campaign.seed")->type_name("N");
  run_command->footer(
      "Examples:\n  finch run examples/quickstart.toml --output runs/first --seed 7\n"
      "  finch run more-evaluations.toml --extend runs/first\n\n"
      "Spaces: mobilenet, shufflenet, nasbench201, or a file of your own; see docs/spaces.md");
  run_command->callback([&chosen, options] { chosen = [options] { return run(*options); }; });

  CLI::App* resume_command =
      app.add_subcommand("resume", "Go on with a campaign or a compression that was interrupted or killed");
  resume_command->add_option("RUN", options->file, "The run folder")->required();
  resume_command->footer("Example:\n  finch resume runs/first");
  resume_command->callback([&chosen, options] { chosen = [options] { return resume(*options); }; });
  for (CLI::App* command : {run_command, resume_command}) {
    command->add_option("--metrics", options->metrics, "Serve Prometheus metrics there")->type_name("ADDRESS:PORT");
    command->add_flag("--json", options->json, "Print front.json instead of a table");
  }

  CLI::App* finish_command = app.add_subcommand("finish", "Stop a campaign's search and finish with what there is");
  finish_command->add_option("RUN", options->file, "The run folder")->required();
  finish_command->footer("Example:\n  finch finish runs/first");
  finish_command->callback([&chosen, options] {
    chosen = [options] {
      const auto requested = request_finish(options->file);
      if (!requested) return fail(requested.error());
      std::fprintf(stderr, "The search ends now; the finalists follow. If no finch runs there: finch resume %s\n",
                   options->file.c_str());
      return ExitCode::done;
    };
  });

  CLI::App* report_command = app.add_subcommand("report", "Write front.json, front.csv and report.html of a run anew");
  report_command->add_option("RUN", options->file, "The run folder")->required();
  report_command->add_flag("--json", options->json, "Print front.json instead of a table");
  report_command->footer("Example:\n  finch report runs/first --json");
  report_command->callback([&chosen, options] {
    chosen = [options] {
      auto campaign = Campaign::open(options->file);
      if (!campaign) return fail(campaign.error());
      return write_and_print(**campaign, options->file, options->json);
    };
  });
}

}  // namespace finch::controller
