// A farm whose workers answer at once, with numbers made from the cost model: on the real store, in the test's own
// thread, the same jobs always with the same results. Not thread safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controller/campaign/campaign_run.hpp"
#include "controller/farm/farm_store.hpp"
#include "controller/farm/home.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/farm.pb.h"
#include "tests/controller/campaign/memory_folder.hpp"

namespace finch::controller {

class SimulatedFarm {
 public:
  // A connection of its own to the store, as a farm in another process has.
  explicit SimulatedFarm(Home home);

  // The description that "local" connects with.
  protocol::DeviceDescription device;
  void connect();
  void disconnect();
  // One more device, like "local" but so many times slower; the reference network takes so many ms there.
  void connect_another(const std::string& name, double slowness);

  // From now on it is in another state, which the store learns from what it answers.
  void upgrade(const std::string& name, const std::string& state, const std::string& kernel);

  // Leases and completes the first queued job; false when there is none.
  bool serve_one();
  void serve_all();

  // Changes an answer, or replaces it by a failure.
  std::function<void(const protocol::Job&, protocol::JobResult&)> tamper;
  std::vector<protocol::Job> served;       // in order
  std::map<std::string, int> completions;  // by key
  std::size_t count(protocol::Job::SpecCase kind) const;

 private:
  std::map<std::string, double> slowness_;
  std::map<std::string, protocol::DeviceDescription> others_;
  const protocol::DeviceDescription& described(const std::string& name) const;
  protocol::JobResult answer(const protocol::Job& job);
  protocol::ArtifactRef keep(const std::string& bytes);

  Home home_;
  FarmStore store_;
  protocol::ArtifactStore artifacts_;
};

// One home, one farm, and campaigns in run folders beside it.
class CampaignFixture {
 public:
  CampaignFixture();

  // A campaign's TOML: small, with the lines of `changes` in place of ("[train]" + key) or behind the defaults.
  CampaignConfig config(const std::string& tables = kSmall) const;
  std::filesystem::path folder(const std::string& name) const { return root_.path() / name; }
  std::unique_ptr<CampaignRun> create(const std::string& name, const CampaignConfig& config);
  std::unique_ptr<CampaignRun> open(const std::string& name);
  // Steps the campaign and serves one job whenever it stands still, at most `steps` times.
  std::expected<void, Error> drive(CampaignRun& run, std::size_t steps = 100'000);
  // create() and drive() to the end; what the campaign shows for it.
  CampaignResult finish(const std::string& name, const CampaignConfig& config);
  std::vector<Event> events(const std::string& name) const;

  static constexpr const char* kSmall = "[budget]\nevaluations = 8\n[search]\npopulation = 4\n[finalists]\ncount = 3\n";

 private:
  MemoryFolder root_;

 public:
  Home home;
  FarmStore store;
  SimulatedFarm farm;
};

std::vector<std::string> types_of(const std::vector<Event>& events);

}  // namespace finch::controller
