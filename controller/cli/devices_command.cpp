#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <cstdio>
#include <format>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "controller/campaign/board_pool.hpp"
#include "controller/cli/commands.hpp"
#include "controller/config/device_profile.hpp"
#include "controller/farm/farm.hpp"
#include "controller/farm/farm_store.hpp"
#include "protocol/farm.pb.h"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

struct DevicesOptions {
  std::string name, profile = "local", host;
  bool json = false;
};

std::expected<FarmStore, Error> open_store() {
  return open_home().and_then([](const Home& home) { return FarmStore::open(home.farm_db()); });
}

std::string joined(const auto& list) {
  std::string text;
  for (const auto& item : list) text += (text.empty() ? "" : ", ") + item;
  return text;
}

// What the reference network takes on the device with its first runtime, and how far that is from the typical board of
// its profile; nothing where it is not calibrated, or is alone.
struct Effect {
  double baseline_ms = 0;
  std::optional<double> effect = {};
};

std::map<std::string, Effect> effects_of(const std::vector<DeviceRecord>& records) {
  std::map<std::string, Effect> effects;
  std::map<std::string, std::vector<double>> pools;  // by profile and runtime
  std::map<std::string, std::string> pool_of;
  for (const DeviceRecord& record : records) {
    protocol::DeviceDescription device;
    device.ParseFromString(record.description);
    if (device.runtimes_size() == 0 || device.runtimes(0).baseline_ms() <= 0) continue;
    const protocol::RuntimeDescription& runtime = device.runtimes(0);
    pool_of[record.name] = record.profile + " " + runtime.name() + " " + runtime.version();
    pools[pool_of[record.name]].push_back(runtime.baseline_ms());
    effects[record.name].baseline_ms = runtime.baseline_ms();
  }
  for (auto& [name, effect] : effects) {
    const std::vector<double>& pool = pools.at(pool_of.at(name));
    if (pool.size() > 1) effect.effect = effect.baseline_ms / geometric_median(pool) - 1;
  }
  return effects;
}

std::string text_of(const Effect& effect) {
  if (effect.baseline_ms <= 0) return "-";
  const std::string baseline = std::format("{:.4g} ms", effect.baseline_ms);
  return effect.effect ? std::format("{} ({:+.1f} %)", baseline, 100 * *effect.effect) : baseline;
}

ExitCode list(const DevicesOptions& options) {
  auto store = open_store();
  if (!store) return fail(store.error());
  const auto devices = store->devices();
  if (!devices) return fail(devices.error());
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  if (!options.json && devices->empty())
    std::printf("No devices yet. A board joins with the command that this prints: finch devices invite NAME\n");
  if (!options.json && !devices->empty())
    std::printf("%-20s %-18s %-10s %-20s %-20s %s\n", "device", "profile", "state", "last seen", "baseline",
                "what it is");
  auto effects = effects_of(*devices);
  bool pooled = false;
  for (const DeviceRecord& record : *devices) {
    protocol::DeviceDescription device;
    device.ParseFromString(record.description);
    const Effect effect = effects[record.name];
    const char* state = record.connected ? "connected" : record.description.empty() ? "invited" : "away";
    std::vector<std::string> runtimes;
    for (const auto& runtime : device.runtimes()) runtimes.push_back(runtime.name() + " " + runtime.version());
    if (options.json) {
      all.push_back({{"name", record.name},
                     {"profile", record.profile},
                     {"state", state},
                     {"last_seen", record.last_seen},
                     {"cpu", device.cpu_model()},
                     {"cores", device.cores()},
                     {"memory_bytes", device.memory_bytes()},
                     {"runtimes", runtimes},
                     {"baseline_ms", nullptr},
                     {"effect", nullptr},
                     {"measures", std::vector<std::string>(device.measures().begin(), device.measures().end())},
                     {"cannot_measure",
                      std::vector<std::string>(device.cannot_measure().begin(), device.cannot_measure().end())}});
      if (effect.baseline_ms > 0) all.back()["baseline_ms"] = effect.baseline_ms;
      if (effect.effect) all.back()["effect"] = *effect.effect;
      continue;
    }
    pooled = pooled || effect.effect;
    std::string what;
    if (!record.description.empty())
      what = std::format("{}, {} cores; {}; measures {}", device.cpu_model(), device.cores(), joined(runtimes),
                         joined(device.measures()));
    std::printf("%-20s %-18s %-10s %-20s %-20s %s\n", record.name.c_str(), record.profile.c_str(), state,
                record.last_seen.c_str(), text_of(effect).c_str(), what.c_str());
  }
  if (pooled) {
    std::printf(
        "Boards of one profile can share a campaign's measuring (device.boards): its search compares latencies free of "
        "what the boards\ndiffer by, in brackets. Everywhere else latencies are as measured.\n");
  }
  if (options.json) std::printf("%s\n", all.dump(2).c_str());
  return ExitCode::done;
}

// The first address of this machine that a board could reach.
std::string own_address() {
  std::string address = "127.0.0.1";
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) return address;
  for (const ifaddrs* entry = interfaces; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET || (entry->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    char text[INET_ADDRSTRLEN];
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text, sizeof text);
    address = text;
    break;
  }
  ::freeifaddrs(interfaces);
  return address;
}

ExitCode invite(const DevicesOptions& options) {
  const auto home = open_home();
  if (!home) return fail(home.error());
  const bool plain = options.name.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == std::string::npos;
  if (!plain || options.name.empty() || options.name.size() > 60 || options.name == "controller" ||
      options.name.starts_with("local")) {
    return fail(
        {std::format(
             "'{}' is no name for a device: letters, digits, '-', '_' and '.'; 'controller' and 'local...' are taken",
             options.name),
         ExitCode::usage});
  }
  if (const auto profile = load_profile(options.profile); !profile) return fail(profile.error());
  const auto port = running_farm(*home);
  if (!port) return fail(port.error());
  const auto authority = protocol::Authority::load_or_create(home->authority());
  if (!authority) return fail({authority.error().message});
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  const auto token = store->invite(options.name, options.profile);
  if (!token) return fail(token.error());
  const std::string host = options.host.empty() ? own_address() : options.host;
  std::fprintf(stderr, "Paste this on the board; it works once, within 24 hours:\n");
  std::printf("finch-agent join --controller %s:%d --token %s --fingerprint %s\n", host.c_str(), *port, token->c_str(),
              authority->fingerprint().c_str());
  return ExitCode::done;
}

ExitCode remove(const DevicesOptions& options) {
  auto store = open_store();
  if (!store) return fail(store.error());
  if (const auto forgotten = store->forget_device(options.name); !forgotten) return fail(forgotten.error());
  return ExitCode::done;
}

}  // namespace

void add_devices_command(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<DevicesOptions>();
  CLI::App* devices = app.add_subcommand("devices", "List the devices; invite, calibrate and remove them");
  devices->add_flag("--json", options->json, "JSON instead of a table");
  devices->require_subcommand(0, 1);
  devices->footer("Example:\n  finch devices --json");
  CLI::App* invite_command = devices->add_subcommand("invite", "Print the one command that lets a board join");
  invite_command->add_option("NAME", options->name, "What the device will be called")->required();
  invite_command->add_option("--profile", options->profile, "Its profile (default local; see profiles/)")
      ->type_name("NAME");
  invite_command->add_option("--host", options->host, "This machine's address as the board sees it")
      ->type_name("ADDRESS");
  invite_command->footer("Example:\n  finch devices invite pi-kitchen --profile raspberry-pi-5");
  CLI::App* remove_command = devices->add_subcommand("remove", "Forget a device");
  remove_command->add_option("NAME", options->name, "The device")->required();
  remove_command->footer("Example:\n  finch devices remove pi-kitchen");
  add_calibrate_command(*devices, chosen);
  // A subcommand's callback comes before this one.
  devices->callback([&chosen, options, devices, invite_command, remove_command] {
    if (devices->got_subcommand("calibrate")) return;
    chosen = [options, inviting = invite_command->parsed(), removing = remove_command->parsed()] {
      return inviting ? invite(*options) : removing ? remove(*options) : list(*options);
    };
  });
}

}  // namespace finch::controller
