#include "controller/campaign/campaign.hpp"

#include <format>
#include <fstream>
#include <thread>

#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/extension.hpp"
#include "controller/campaign/space_spec.hpp"
#include "controller/farm/patience.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/random_hex.hpp"

namespace finch::controller {
namespace {

constexpr std::chrono::milliseconds kShow{250};

}  // namespace

std::expected<std::unique_ptr<Campaign>, Error> Campaign::create(const CampaignConfig& config,
                                                                 const std::filesystem::path& run_folder) {
  auto folder = RunFolder::create(run_folder);
  if (!folder) return std::unexpected(folder.error());
  auto store = EventStore::open(folder->database());
  if (!store) return std::unexpected(store.error());
  auto run = std::make_unique<CampaignRun>(std::move(*folder), std::move(*store));
  if (const auto begun = run->begin(config); !begun) return std::unexpected(begun.error());
  return run;
}

std::expected<std::unique_ptr<Campaign>, Error> Campaign::open(const std::filesystem::path& run_folder) {
  auto folder = RunFolder::open(run_folder);
  if (!folder) return std::unexpected(folder.error());
  auto store = EventStore::open(folder->database());
  if (!store) return std::unexpected(store.error());
  auto run = std::make_unique<CampaignRun>(std::move(*folder), std::move(*store));
  if (const auto replayed = run->replay(); !replayed) return std::unexpected(replayed.error());
  return run;
}

std::expected<std::unique_ptr<Campaign>, Error> Campaign::extend(const CampaignConfig& config,
                                                                 const std::filesystem::path& run_folder) {
  auto campaign = open(run_folder);
  if (!campaign) return campaign;
  auto& run = static_cast<CampaignRun&>(**campaign);
  if (const auto extended = run.extend(config); !extended) return std::unexpected(extended.error());
  return campaign;
}

std::expected<void, Error> request_finish(const std::filesystem::path& run_folder) {
  if (!std::filesystem::exists(run_folder / "campaign.db")) {
    return std::unexpected(Error{run_folder.string() + ": no campaign here (campaign.db is missing)", ExitCode::usage});
  }
  std::ofstream file(run_folder / "finish");
  file << "stop the search and finish with what there is\n";
  if (!file.flush()) return std::unexpected(Error{(run_folder / "finish").string() + ": cannot write"});
  return {};
}

std::expected<void, Error> CampaignRun::begin(const CampaignConfig& config) {
  return record("created", {{"config", resolved_toml(config)},
                            {"file", config.file.string()},
                            {"run_id", protocol::random_hex(8)},
                            {"version", FINCH_VERSION}});
}

std::expected<void, Error> CampaignRun::replay() {
  const auto events = events_.load();
  if (!events) return std::unexpected(events.error());
  if (events->empty())
    return std::unexpected(
        Error{folder_.path().string() + ": the campaign was never begun; remove the folder and run it anew",
              ExitCode::usage});
  for (const Event& event : *events) {
    if (auto applied = state_.apply(event); !applied) return applied;
  }
  recorded_ = events->back().sequence;
  base_seconds_ = state_.seconds;
  failed_before_ = state_.failed;
  return {};
}

std::expected<void, Error> CampaignRun::extend(const CampaignConfig& config) {
  const auto changes = changes_of_extension(state_.config, config);
  if (!changes) return std::unexpected(changes.error());
  if (changes->empty()) {
    return std::unexpected(Error{std::format("{}: nothing differs from what the campaign has; change [budget], "
                                             "[constraints] or the devices, or go on with it: finch resume {}",
                                             config.file.string(), folder_.path().string()),
                                 ExitCode::usage});
  }
  std::error_code ignored;
  std::filesystem::remove(folder_.finish_request(), ignored);  // asked of the campaign as it was
  failed_before_ = 0;
  return record("extended", {{"config", resolved_toml(config)}, {"file", config.file.string()}, {"changes", *changes}});
}

double CampaignRun::now() const {
  return base_seconds_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - opened_).count();
}

CampaignRun::Step CampaignRun::record(const std::string& type, nlohmann::json data) {
  const auto event = events_.append(type, now(), std::move(data));
  if (!event) return std::unexpected(event.error());
  recorded_ = event->sequence;
  return state_.apply(*event);
}

std::expected<void, Error> CampaignRun::run(const Home& home, FarmStore& store,
                                            const std::function<void(const CampaignStatus&)>& show,
                                            std::stop_token stop) {
  base_seconds_ = state_.seconds;
  opened_ = std::chrono::steady_clock::now();
  if (!state_.devices.empty())
    say(std::format("going on after {:.0f} s of campaign time, {} candidates known", state_.seconds,
                    state_.candidates.size()));
  Patience patience;
  auto next_show = std::chrono::steady_clock::time_point{};
  std::expected<void, Error> outcome;
  while (outcome && !finished() && !stop.stop_requested()) {
    const auto before = recorded_;
    outcome = step(home, store);
    if (std::chrono::steady_clock::now() >= next_show || !outcome || finished()) {
      next_show = std::chrono::steady_clock::now() + kShow;
      CampaignStatus snapshot = status();
      snapshot.log = std::exchange(log_, {});
      show(snapshot);
    }
    if (recorded_ != before) {
      patience.reset();  // something happened: more may be possible at once
    } else if (outcome) {
      std::this_thread::sleep_for(patience.next());
    }
  }
  if (board_ && !finished()) board_->withdraw_all();
  board_.reset();
  if (!outcome) return outcome;
  if (!finished())
    return std::unexpected(
        Error{std::format("interrupted; go on with: finch resume {}", folder_.path().string()), ExitCode::interrupted});
  return {};
}

CampaignRun::Step CampaignRun::note(const std::string& text) {
  return std::ranges::find(state_.notes, text) == state_.notes.end() ? record("note", {{"text", text}}) : Step{};
}

CampaignRun::Step CampaignRun::step(const Home& home, FarmStore& store) {
  if (!board_) board_ = std::make_unique<JobBoard>(store, state_.run_id, home.artifacts());
  if (auto refreshed = board_->refresh(); !refreshed) return refreshed;
  if (!state_.data) {
    // Asked for first: the trainer reads the data while the device is waited for.
    if (auto read = read_data(); !read) return read;
  }
  if (auto found = find_devices(store); !found) return found;
  if (!devices_are_there()) return {};
  if (!state_.data) return {};
  if (state_.finalists) return finalist_stage(home);
  if (!state_.teacher_settled) return settle_teacher(home);
  if (state_.config.init.from && !state_.initial_weights) return read_initial_weights(home);
  if (state_.wants_supernet() && !state_.supernet) return train_supernet();
  return search_stage(store);
}

CampaignRun::Step CampaignRun::read_data() {
  JobRequest request{
      .job = {}, .target = "", .priority = 100, .depends_on = state_.run_id, .description = "reading the data"};
  *request.job.mutable_inspect_data()->mutable_data() = data_spec();
  const auto done = board_->result_of(request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  if ((*done)->result.has_failure())
    return std::unexpected(Error{(*done)->result.failure().message(), ExitCode::usage});
  const auto& facts = (*done)->result.data_facts();
  say(std::format("data: {} classes, {} training, {} validation, {} test images of {} x {}", facts.class_names_size(),
                  facts.train_samples(), facts.validation_samples(), facts.test_samples(), facts.height(),
                  facts.width()));
  for (const std::string& why : facts.skipped_images()) {
    if (auto noted = note("image left out: " + why); !noted) return noted;
  }
  if (facts.skipped() > 0) say(std::format("data: {} images cannot be read and are left out", facts.skipped()));
  return record("data", {{"result", to_json(facts)}});
}

protocol::DataSpec CampaignRun::data_spec() const {
  protocol::DataSpec spec;
  spec.set_format(state_.config.data.format);
  spec.set_path(state_.config.data.path);
  spec.set_validation_samples(state_.config.data.validation_samples);
  spec.set_skip_corrupt(state_.config.data.corrupt == "skip");
  spec.set_seed(1);  // the split belongs to the data, not to the campaign: results stay comparable across seeds
  return spec;
}

protocol::Recipe CampaignRun::recipe(double epochs) const {
  const TrainConfig& train = state_.config.train;
  protocol::Recipe recipe;
  recipe.set_epochs(epochs);
  recipe.set_batch_size(static_cast<int>(train.batch_size));
  recipe.set_learning_rate(train.learning_rate);
  recipe.set_weight_decay(train.weight_decay);
  recipe.set_label_smoothing(train.label_smoothing);
  recipe.set_temperature(train.temperature);
  recipe.set_distillation_weight(train.distillation_weight);
  recipe.set_flip(train.flip);
  recipe.set_crop_padding(static_cast<int>(train.crop_padding));
  recipe.set_randaugment_operations(static_cast<int>(train.randaugment_operations));
  if (train.randaugment_operations > 0) recipe.set_randaugment_magnitude(train.randaugment_magnitude);
  recipe.set_random_erasing(train.random_erasing);
  recipe.set_mixup(train.mixup);
  recipe.set_cutmix(train.cutmix);
  recipe.set_balanced_classes(train.class_weights == "balanced");
  recipe.set_threads(static_cast<int>(train.threads));
  recipe.set_seed(state_.config.seed);
  return recipe;
}

// Another version of the program would give other accuracies: its files are part of the job.
protocol::UserTrainer CampaignRun::user_trainer() const {
  const TrainConfig& train = state_.config.train;
  const std::filesystem::path folder = std::filesystem::absolute(state_.config.file).parent_path();
  if (!program_sha256_) {
    std::string hashes;
    for (const std::string& part : train.command) {
      std::error_code ignored;
      if (!std::filesystem::is_regular_file(folder / part, ignored)) continue;
      hashes += protocol::sha256_of_file(folder / part).value_or("") + "\n";
    }
    program_sha256_ = protocol::sha256_hex(hashes);
  }
  protocol::UserTrainer trainer;
  trainer.mutable_command()->Add(train.command.begin(), train.command.end());
  trainer.set_folder(folder.string());
  trainer.set_program_sha256(*program_sha256_);
  trainer.set_timeout_seconds(60 * train.timeout_minutes);
  return trainer;
}

protocol::SpaceSpec CampaignRun::space_spec() const {
  return controller::space_spec(state_.config, *state_.data);
}

protocol::Deploy CampaignRun::deploy(const std::string& kind, const DeviceConfig& device) const {
  const DeployConfig& config = state_.config.deploy;
  const auto [precision, runtime] = deployed_kind(kind, config);
  protocol::Deploy deploy;
  deploy.set_runtime(runtime);
  // The others have no provider but this one here.
  deploy.set_provider(runtime == config.runtime ? device.provider : "cpu");
  deploy.set_precision(precision);
  deploy.set_threads(static_cast<int>(device.threads));
  deploy.set_batch(static_cast<int>(config.batch));
  return deploy;
}

}  // namespace finch::controller
