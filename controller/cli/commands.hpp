// The subcommands of `finch`. Each adds itself to the application; what it does is in its own file.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "controller/error.hpp"

namespace finch::controller {

// Set by the chosen subcommand, called by main() after parsing.
using Command = std::function<ExitCode()>;

void add_run_commands(CLI::App& app, Command& chosen);             // run, resume, finish, report
void add_predict_command(CLI::App& table_bench, Command& chosen);  // table-bench predict
void add_export_command(CLI::App& app, Command& chosen);           // export
void add_verify_command(CLI::App& app, Command& chosen);           // verify
void add_pick_command(CLI::App& app, Command& chosen);             // pick
void add_serve_command(CLI::App& app, Command& chosen);            // serve
void add_devices_command(CLI::App& app, Command& chosen);          // devices, devices invite, devices remove
void add_calibrate_command(CLI::App& devices, Command& chosen);    // devices calibrate
void add_watch_command(CLI::App& app, Command& chosen);            // watch add, list, remove, run
void add_doctor_command(CLI::App& app, Command& chosen);           // doctor
void add_init_command(CLI::App& app, Command& chosen);             // init
void add_plan_command(CLI::App& app, Command& chosen);             // plan
void add_bench_command(CLI::App& app, Command& chosen);            // bench
void add_compress_command(CLI::App& app, Command& chosen);         // compress
void add_table_bench_command(CLI::App& app, Command& chosen);      // table-bench
void add_completion_command(CLI::App& app, Command& chosen);       // completion bash

// "finch: <message>" on stderr, each line of it; gives the exit code.
ExitCode fail(const Error& error);

}  // namespace finch::controller
