#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <format>
#include <mutex>
#include <thread>

#include "controller/cli/commands.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/farm/farm.hpp"
#include "controller/farm/serve_lock.hpp"

namespace finch::controller {
namespace {

constexpr std::chrono::seconds kHandOver{15};  // its local workers have to end first

struct ServeOptions {
  std::uint16_t port = 7433;
  std::string bind = "0.0.0.0";
};

ExitCode serve(const ServeOptions& options) {
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  FarmOptions farm_options;
  farm_options.bind_address = options.bind;
  farm_options.port = options.port;
  farm_options.log = [](const std::string& line) {
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    std::fprintf(stderr, "%s %s\n", std::format("{:%FT%TZ}", now).c_str(), line.c_str());
  };
  const auto claim = ServeClaim::make(*home);
  auto farm = Farm::start(*home, farm_options);
  // A campaign that serves the farm meanwhile makes room.
  const auto deadline = std::chrono::steady_clock::now() + kHandOver;
  while (claim && !farm && running_farm(*home) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    farm = Farm::start(*home, farm_options);
  }
  if (!farm) return fail(farm.error());
  std::fprintf(stderr, "Serving %s on %s:%d. Invite a board: finch devices invite NAME. Ctrl-C ends.\n",
               home->root.c_str(), options.bind.c_str(), (*farm)->port());
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  never.wait(lock, interrupt.token(), [] { return false; });
  return ExitCode::done;
}

}  // namespace

void add_serve_command(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand("serve", "Serve the farm: boards connect here, campaigns use it");
  command->add_option("--port", options->port, "TCP port (default 7433)")->type_name("N");
  command->add_option("--bind", options->bind, "Address to listen on (default: all)")->type_name("ADDRESS");
  command->footer("Example:\n  finch serve --port 7433");
  command->callback([&chosen, options] { chosen = [options] { return serve(*options); }; });
}

}  // namespace finch::controller
