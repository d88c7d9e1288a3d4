#include "agent/runtime_list.hpp"

#include <format>

#include "agent/device_facts.hpp"
#include "agent/json_text.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

std::vector<ListedRuntime> list_runtimes(const RuntimeLibraries& asked, const Launcher& launcher) {
  std::vector<ListedRuntime> listed;
  for (const InferenceRuntime& runtime : inference_runtimes()) {
    ListedRuntime& entry = listed.emplace_back(ListedRuntime{.runtime = &runtime});
    const auto library = find_library(runtime, library_of(asked, runtime.name));
    if (!library) {
      entry.problem = library.error().message;
      continue;
    }
    entry.library = library->string();
    if (const auto probed = probe_runtime(runtime, entry.library, launcher)) {
      entry.version = probed->version();
      entry.providers.assign(probed->providers().begin(), probed->providers().end());
    } else {
      entry.problem = probed.error().message;
    }
  }
  return listed;
}

std::string runtimes_json(const std::vector<ListedRuntime>& runtimes) {
  std::string entries;
  for (const ListedRuntime& entry : runtimes) {
    entries += std::format(
        R"({}{{"name": {}, "found": {}, "library": {}, "version": {}, "providers": {}, "format": {}, "problem": {}, )"
        R"("install": {}}})",
        entries.empty() ? "" : ", ", json_string(std::string(entry.runtime->name)), entry.problem.empty(),
        json_string_or_null(entry.library), json_string_or_null(entry.version), json_string_list(entry.providers),
        json_string(std::string(entry.runtime->format)), json_string_or_null(entry.problem),
        json_string(std::string(entry.runtime->install)));
  }
  return std::format(R"({{"runtimes": [{}]}})", entries);
}

std::string runtimes_text(const std::vector<ListedRuntime>& runtimes) {
  std::string text;
  for (const ListedRuntime& entry : runtimes) {
    if (entry.problem.empty()) {
      std::string providers;
      for (const std::string& provider : entry.providers) providers += (providers.empty() ? "" : ", ") + provider;
      text += std::format("{:<12} {}, reads .{}, providers: {}\n{:13}{}\n", entry.runtime->name, entry.version,
                          entry.runtime->format, providers, "", entry.library);
    } else if (entry.library.empty()) {
      text += std::format("{:<12} not here; install it: {}\n", entry.runtime->name, entry.runtime->install);
    } else {
      text += std::format("{:<12} cannot be used: {}\n", entry.runtime->name, entry.problem);
    }
  }
  return text;
}

}  // namespace finch::agent
