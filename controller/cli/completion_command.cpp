#include <cstdio>
#include <format>

#include "controller/cli/commands.hpp"

namespace finch::controller {
namespace {

// All words that may follow `level`: its subcommands and long options.
std::string words_of(const CLI::App& level) {
  std::string words;
  for (const CLI::App* command : level.get_subcommands({})) words += command->get_name() + " ";
  for (const CLI::Option* option : level.get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  return words;
}

// Generated from the application itself, so that it never lags behind.
std::string bash_script(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : app.get_subcommands({})) {
    for (const CLI::App* inner : command->get_subcommands({})) {
      cases += std::format("    '{} {}'*) words='{}' ;;\n", command->get_name(), inner->get_name(), words_of(*inner));
    }
    cases += std::format("    '{}'*) words='{}' ;;\n", command->get_name(), words_of(*command));
  }
  return std::format(R"(# bash completion for finch; use it with: source <(finch completion bash)
_finch() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words
  local line="${{COMP_WORDS[*]:1:COMP_CWORD-1}}"
  case $line in
{}    *) words='{}' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  # Files and run folders where no word of ours fits.
  if [ ${{#COMPREPLY[@]}} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}}
complete -o filenames -F _finch finch
)",
                     cases, words_of(app));
}

}  // namespace

void add_completion_command(CLI::App& app, Command& chosen) {
  const auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print a completion script for the shell");
  command->add_option("SHELL", *shell, "bash")->required()->check(CLI::IsMember({"bash"}));
  command->footer("Example:\n  source <(finch completion bash)");
  command->callback([&app, &chosen] {
    chosen = [&app] {
      std::fputs(bash_script(app).c_str(), stdout);
      return ExitCode::done;
    };
  });
}

}  // namespace finch::controller
