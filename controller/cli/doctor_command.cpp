#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <format>
#include <nlohmann/json.hpp>
#include <thread>

#include "controller/cli/commands.hpp"
#include "controller/config/device_profile.hpp"
#include "controller/farm/farm.hpp"
#include "controller/farm/farm_store.hpp"
#include "controller/farm/local_gpu.hpp"
#include "controller/farm/program_output.hpp"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

struct Finding {
  std::string what;
  enum class State { ok, warning, missing } state = State::ok;
  std::string detail;  // what was found, or what to do
};

using State = Finding::State;

Finding program(const std::string& name) {
  const auto path = program_folder() / name;
  if (::access(path.c_str(), X_OK) == 0) return {name, State::ok, path.string()};
  return {name, State::missing, std::format("{} is not there; build it: scripts/build {}", path.string(), name)};
}

// What the agent of this machine says; one runtime is enough.
std::vector<Finding> runtimes() {
  const std::string text = output_of(std::format("'{}' runtimes --json", (program_folder() / "finch-agent").string()));
  const auto listed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!listed.is_object()) return {{"runtimes", State::missing, "the agent does not say; try: finch-agent runtimes"}};
  std::vector<Finding> findings;
  bool any = false;
  for (const auto& runtime : listed.at("runtimes")) {
    const bool found = runtime.at("found");
    any = any || found;
    const auto words = [&](const char* key) {
      return runtime.at(key).is_null() ? "" : runtime.at(key).get<std::string>();
    };
    findings.push_back({words("name"), found ? State::ok : State::warning,
                        found                      ? std::format("{} in {}", words("version"), words("library"))
                        : words("library").empty() ? "not here; install it: " + words("install")
                                                   : words("problem")});
  }
  for (Finding& finding : findings) {
    if (!any) finding.state = State::missing;
  }
  return findings;
}

Finding data_set() {
  const std::string path = "/usr/share/datasets/fashion-mnist";
  if (std::filesystem::exists(path)) return {"quickstart's data", State::ok, path};
  return {"quickstart's data", State::warning, "Fashion-MNIST is not installed; apt install dataset-fashion-mnist"};
}

Finding disk(const std::filesystem::path& folder) {
  struct statvfs space{};
  if (::statvfs(folder.c_str(), &space) != 0)
    return {"disk", State::warning, folder.string() + " cannot be asked for its free space"};
  const double gigabytes = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize) / 1e9;
  const std::string text = std::format("{:.1f} GB free in {}", gigabytes, folder.string());
  return {"disk", gigabytes < 1 ? State::warning : State::ok,
          gigabytes < 1 ? text + "; free some: a campaign keeps models and checkpoints there" : text};
}

std::vector<Finding> examine() {
  std::vector<Finding> findings = {program("finch-agent"), program("finch-trainer")};
  for (Finding& runtime : runtimes()) findings.push_back(std::move(runtime));
  if (const auto gpu = find_local_gpu(program_folder() / "finch-trainer"))
    findings.push_back({"GPU", gpu->usable ? State::ok : State::warning, gpu->advice()});
  findings.push_back(data_set());
  const auto profiles = profile_names();
  findings.push_back({"device profiles", profiles.empty() ? State::missing : State::ok,
                      profiles.empty() ? profiles_folder().string() + " holds none; set FINCH_PROFILES"
                                       : std::format("{} in {}", profiles.size(), profiles_folder().string())});
  findings.push_back({"cores", State::ok, std::to_string(std::thread::hardware_concurrency())});
  const auto home = open_home();
  if (!home) {
    findings.push_back({"home", State::missing, home.error().message});
    return findings;
  }
  findings.push_back({"home", State::ok, home->root.string()});
  findings.push_back(disk(home->root));
  const auto authority = protocol::Authority::load_or_create(home->authority());
  findings.push_back({"authority", authority ? State::ok : State::missing,
                      authority ? authority->fingerprint() : authority.error().message});
  auto store = FarmStore::open(home->farm_db());
  findings.push_back(
      {"farm records", store ? State::ok : State::missing, store ? home->farm_db().string() : store.error().message});
  const auto port = running_farm(*home);
  findings.push_back({"farm", State::ok,
                      port ? std::format("served on port {}", *port)
                           : "not served now; a campaign serves its own, boards need: finch serve"});
  return findings;
}

ExitCode doctor(bool json) {
  static constexpr const char* kStates[] = {"ok", "warning", "missing"};
  bool healthy = true;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Finding& finding : examine()) {
    healthy = healthy && finding.state != State::missing;
    const char* state = kStates[static_cast<int>(finding.state)];
    if (json) {
      all.push_back({{"what", finding.what}, {"state", state}, {"detail", finding.detail}});
    } else {
      std::printf("%-8s %-18s %s\n", state, finding.what.c_str(), finding.detail.c_str());
    }
  }
  if (json) std::printf("%s\n", all.dump(2).c_str());
  return healthy ? ExitCode::done : ExitCode::failed;
}

}  // namespace

void add_doctor_command(CLI::App& app, Command& chosen) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("doctor", "Say what is installed, what is missing and what to do");
  command->add_flag("--json", *json, "JSON instead of a table");
  command->footer("Example:\n  finch doctor");
  command->callback([&chosen, json] { chosen = [json] { return doctor(*json); }; });
}

}  // namespace finch::controller
