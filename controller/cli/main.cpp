#include <algorithm>
#include <cstdio>
#include <format>
#include <set>

#include "controller/cli/commands.hpp"
#include "controller/config/toml_reader.hpp"

namespace finch::controller {
namespace {

// CLI11's own message, and what was probably meant.
std::string explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  std::string message = error.what();
  std::ranges::replace(message, '\n', ' ');
  std::set<std::string> known;
  const CLI::App* level = &app;
  while (!level->get_subcommands().empty()) level = level->get_subcommands().front();
  for (const CLI::App* command : level->get_subcommands({})) known.insert(command->get_name());
  for (const CLI::Option* option : level->get_options()) {
    for (const std::string& name : option->get_lnames()) known.insert("--" + name);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr || level == &app) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = std::string(argv[i]).substr(0, std::string_view(argv[i]).find('='));
      if (known.contains(word)) continue;
      if (const auto near = nearest(word, known))
        return std::format("'{}' is not known; did you mean '{}'?", word, *near);
    }
  }
  return message + "; see: finch " + (level == &app ? "" : level->get_name() + " ") + "--help";
}

int run_program(int argc, char** argv) {
  CLI::App app{
      "Finch evolves neural networks until they fit a device: searched, trained, measured on the device itself.\n"
      "Begin with: finch run examples/quickstart.toml",
      "finch"};
  app.set_version_flag("--version", std::string("finch ") + FINCH_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Example:\n  finch run examples/quickstart.toml --seed 7\n\n"
      "Exit codes: 0 done, 1 failed at run time, 2 the command line or a file of yours is wrong, 130 interrupted "
      "(finch resume goes on).");
  Command chosen;
  add_run_commands(app, chosen);
  add_export_command(app, chosen);
  add_verify_command(app, chosen);
  add_pick_command(app, chosen);
  add_serve_command(app, chosen);
  add_devices_command(app, chosen);
  add_watch_command(app, chosen);
  add_doctor_command(app, chosen);
  add_init_command(app, chosen);
  add_plan_command(app, chosen);
  add_bench_command(app, chosen);
  add_compress_command(app, chosen);
  add_table_bench_command(app, chosen);
  add_completion_command(app, chosen);
  if (argc == 1) {
    std::fputs(app.help().c_str(), stderr);
    return static_cast<int>(ExitCode::usage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    return static_cast<int>(fail({explain(app, error, argc, argv), ExitCode::usage}));
  }
  return static_cast<int>(chosen ? chosen() : ExitCode::usage);
}

}  // namespace

}  // namespace finch::controller

int main(int argc, char** argv) {
  try {
    return finch::controller::run_program(argc, argv);
  } catch (const std::exception& error) {  // what no wrapper caught: still one line, no trace
    std::fprintf(stderr, "finch: %s\n", error.what());
    return static_cast<int>(finch::controller::ExitCode::failed);
  }
}
