#include "controller/campaign/campaign_artifact.hpp"

#include <nlohmann/json.hpp>

#include "controller/campaign/event_store.hpp"
#include "controller/campaign/run_folder.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {

std::expected<std::filesystem::path, Error> artifact_of_campaign(const std::filesystem::path& folder,
                                                                 const std::string& event, const std::string& field,
                                                                 const std::filesystem::path& artifacts) {
  auto store = EventStore::open(folder / kCampaignDatabase);
  if (!store) return std::unexpected(store.error());
  const auto events = store->load();
  if (!events) return std::unexpected(events.error());
  for (const Event& each : *events) {
    if (each.type != event || !each.data.contains("result")) continue;
    const std::string hash = each.data["result"].value(field, nlohmann::json::object()).value("sha256", "");
    const protocol::ArtifactStore kept(artifacts);
    if (protocol::is_sha256(hash) && kept.has(hash)) return kept.path_of(hash);
  }
  return std::filesystem::path();
}

}  // namespace finch::controller
