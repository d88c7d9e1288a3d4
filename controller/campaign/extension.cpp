#include "controller/campaign/extension.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <sstream>

namespace finch::controller {
namespace {

// "train.epochs" -> "1.0". A device's keys are named after it: "device pi.threads".
std::map<std::string, std::string> settings(const CampaignConfig& config) {
  std::map<std::string, std::string> all;
  std::istringstream text(resolved_toml(config));
  std::string table;
  std::size_t devices = 0, baselines = 0;
  for (std::string line; std::getline(text, line);) {
    if (line == "[[device]]") {
      table = "device " + config.devices[devices++].name;
    } else if (line == "[[baseline]]") {
      table = "baseline " + config.baselines[baselines++].name;
    } else if (line.starts_with('[')) {
      table = line.substr(1, line.size() - 2);
    } else if (const std::size_t equals = line.find(" = "); equals != std::string::npos) {
      all[table + "." + line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return all;
}

// Known accuracies and latencies stay what they are, whatever these say.
bool may_change(const std::string& key) {
  static const std::set<std::string> tables = {"campaign", "search", "constraints", "budget", "finalists"};
  static const std::set<std::string> keys = {"measure.finalist_tier", "measure.load", "deploy.provider",
                                             "deploy.threads"};
  return keys.contains(key) || key.starts_with("device ") || key.starts_with("baseline ") ||
         tables.contains(key.substr(0, key.find('.')));
}

}  // namespace

std::expected<std::vector<std::string>, Error> changes_of_extension(const CampaignConfig& before,
                                                                    const CampaignConfig& now) {
  const auto old_settings = settings(before), new_settings = settings(now);
  std::set<std::string> keys;
  for (const auto& [key, value] : old_settings) keys.insert(key);
  for (const auto& [key, value] : new_settings) keys.insert(key);
  const auto value = [](const std::map<std::string, std::string>& all, const std::string& key) {
    const auto found = all.find(key);
    return found == all.end() ? std::string("nothing") : found->second;
  };
  std::vector<std::string> changes;
  for (const std::string& key : keys) {
    const std::string was = value(old_settings, key), is = value(new_settings, key);
    // What a space's file says is space.definition; where it lies does not matter.
    if (was == is || key == "space.file") continue;
    // The search measured with all of them, then.
    const bool known = key == "finalists.runtimes" && before.measure.every_runtime;
    if (known || !may_change(key)) {
      return std::unexpected(Error{std::format("{}: {} is {} here and was {} in the campaign: what is known would not "
                                               "be comparable; keep it, or run a campaign of its own",
                                               now.file.string(), key, is, was),
                                   ExitCode::usage});
    }
    changes.push_back(std::format("{}: {} -> {}", key, was, is));
  }
  return changes;
}

}  // namespace finch::controller
