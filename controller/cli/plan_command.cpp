#include <algorithm>
#include <cstdio>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/campaign/constraints.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/space_spec.hpp"
#include "controller/cli/commands.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/farm_question.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/cli/plan_estimate.hpp"
#include "controller/report/log_view.hpp"
#include "protocol/model_format.hpp"
#include "search/cost_model.hpp"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

constexpr int kTimedSteps = 12;

struct Planner {
  const CampaignConfig& config;
  FarmQuestion& farm;
  protocol::DataSpec data = {};
  protocol::SpaceSpec space_spec = {};
  std::string data_hash = {};

  std::expected<protocol::DataFacts, Error> inspect() {
    data.set_format(config.data.format);
    data.set_path(config.data.path);
    data.set_validation_samples(config.data.validation_samples);
    data.set_seed(1);
    JobRequest request{
        .job = {}, .target = "", .priority = 100, .depends_on = config.data.path, .description = "Reading the data"};
    *request.job.mutable_inspect_data()->mutable_data() = data;
    const auto result = farm.ask(request);
    if (!result) return std::unexpected(result.error());
    const protocol::DataFacts& facts = result->data_facts();
    space_spec = controller::space_spec(config, facts);
    data_hash = facts.data_hash();
    return facts;
  }

  std::expected<double, Error> images_per_second(const search::Genotype& genotype, const std::string& which) {
    JobRequest request{.job = {},
                       .target = "",
                       .priority = 80,
                       .depends_on = data_hash,
                       .description = "Timing some training steps of the " + which + " network"};
    protocol::TimeTraining& job = *request.job.mutable_time_training();
    *job.mutable_space() = space_spec;
    for (const int choice : genotype) job.add_genotype(choice);
    *job.mutable_data() = data;
    job.mutable_recipe()->set_epochs(1);
    job.mutable_recipe()->set_batch_size(static_cast<int>(config.train.batch_size));
    job.mutable_recipe()->set_learning_rate(config.train.learning_rate);
    job.mutable_recipe()->set_temperature(config.train.temperature);
    job.mutable_recipe()->set_threads(static_cast<int>(config.train.threads));
    job.set_steps(kTimedSteps);
    return farm.ask(request).transform(
        [](const protocol::JobResult& result) { return result.training_time().images_per_second(); });
  }

  // Of the slowest device.
  struct Measured {
    double latency_ms = 0, seconds = 0;
    bool energy = false;
  };
  std::expected<Measured, Error> measure(const search::Genotype& genotype, const std::string& which) {
    JobRequest random{.job = {},
                      .target = "",
                      .priority = 80,
                      .depends_on = data_hash,
                      .description = "Exporting the " + which + " network"};
    protocol::ExportRandom& exported = *random.job.mutable_export_random();
    *exported.mutable_space() = space_spec;
    for (const int choice : genotype) exported.add_genotype(choice);
    exported.add_precisions(config.deploy.precision);
    exported.set_format(std::string(protocol::format_read_by(config.deploy.runtime)));
    exported.set_seed(1);
    *exported.mutable_data() = data;
    const auto file = farm.ask(random);
    if (!file) return std::unexpected(file.error());
    Measured worst;
    for (const DeviceConfig& device : config.devices) {
      const std::string board = device.all_boards().front();
      const auto description = farm.device(board);
      if (!description) return std::unexpected(description.error());
      JobRequest request{.job = {},
                         .target = board,
                         .priority = 70,
                         .depends_on = device_state(*description, config.deploy.runtime),
                         .description = std::format("Measuring it on {} ({})", board, config.measure.search_tier)};
      protocol::Measure& job = *request.job.mutable_measure();
      *job.mutable_model() = file->exported_network().files(0).artifact();
      job.mutable_deploy()->set_runtime(config.deploy.runtime);
      job.mutable_deploy()->set_provider(device.provider);
      job.mutable_deploy()->set_precision(config.deploy.precision);
      job.mutable_deploy()->set_threads(static_cast<int>(device.threads));
      job.mutable_deploy()->set_batch(static_cast<int>(config.deploy.batch));
      job.set_tier(config.measure.search_tier);
      job.set_device(board);
      job.set_state_hash(device_state(*description, config.deploy.runtime));
      set_parameters(job, device.measure);
      const auto result = farm.ask(request);
      if (!result) return std::unexpected(result.error());
      worst.latency_ms = std::max(worst.latency_ms, result->measurement().latency_median_ms());
      worst.seconds = std::max(worst.seconds, result->measurement().seconds());
      worst.energy = worst.energy || result->measurement().has_energy_net_mj();
    }
    return worst;
  }

  std::expected<PlanFacts, Error> facts() {
    const auto data_facts = inspect();
    if (!data_facts) return std::unexpected(data_facts.error());
    const auto space = search::make_search_space(space_config(config, *data_facts));
    if (!space) return std::unexpected(Error{space.error().message, ExitCode::usage});
    PlanFacts facts;
    facts.train_samples = data_facts->train_samples();
    facts.test_samples = data_facts->test_samples();
    const auto extremes = extremes_within(config.constraints, **space);
    if (!extremes) {
      return std::unexpected(Error{
          config.file.string() + ": constraints: no network of the space keeps them; loosen them", ExitCode::usage});
    }
    const auto& [small, large] = *extremes;
    facts.largest_parameters = search::cost_of((*space)->decode(large).value()).parameters;
    const auto slow = images_per_second(large, "largest");
    if (!slow) return std::unexpected(slow.error());
    const auto quick = images_per_second(small, "smallest");
    if (!quick) return std::unexpected(quick.error());
    const auto high = measure(large, "largest");
    if (!high) return std::unexpected(high.error());
    const auto low = measure(small, "smallest");
    if (!low) return std::unexpected(low.error());
    facts.images_per_second_large = *slow;
    facts.images_per_second_small = *quick;
    facts.latency_ms_large = high->latency_ms;
    facts.latency_ms_small = low->latency_ms;
    facts.measurement_seconds = high->seconds;
    facts.energy = high->energy;
    return facts;
  }
};

void print(const Plan& plan, const PlanFacts& facts, bool json) {
  if (json) {
    nlohmann::ordered_json stages = nlohmann::ordered_json::array();
    for (const PlanStage& stage : plan.stages)
      stages.push_back({{"name", stage.name}, {"seconds", stage.seconds}, {"megabytes", stage.megabytes}});
    const nlohmann::ordered_json all = {
        {"stages", stages},
        {"evaluations", plan.evaluations},
        {"seconds", plan.total_seconds()},
        {"megabytes", plan.total_megabytes()},
        {"latency_ms", {{"smallest", facts.latency_ms_small}, {"largest", facts.latency_ms_large}}},
        {"images_per_second",
         {{"smallest", facts.images_per_second_small}, {"largest", facts.images_per_second_large}}}};
    std::printf("%s\n", all.dump(2).c_str());
    return;
  }
  std::printf("%-22s %14s %14s\n", "", "smallest", "largest");
  std::printf("%-22s %11.4f ms %11.4f ms\n", "latency, measured", facts.latency_ms_small, facts.latency_ms_large);
  std::printf("%-22s %12.0f/s %12.0f/s\n\n", "training images", facts.images_per_second_small,
              facts.images_per_second_large);
  std::printf("%-12s %10s %10s   (estimates)\n", "stage", "time", "disk");
  for (const PlanStage& stage : plan.stages) {
    std::printf("%-12s %10s %7.1f MB\n", stage.name.c_str(),
                clock_text(std::chrono::duration<double>(stage.seconds)).c_str(), stage.megabytes);
  }
  std::printf("%-12s %10s %7.1f MB   about %lld candidates\n", "in all",
              clock_text(std::chrono::duration<double>(plan.total_seconds())).c_str(), plan.total_megabytes(),
              static_cast<long long>(plan.evaluations));
}

ExitCode plan(const std::string& file, bool json) {
  auto config = load_campaign(file);
  if (!config) return fail(config.error());
  if (const auto resolved = resolve(*config); !resolved) return fail(resolved.error());
  if (config->train.trainer == "command")
    return fail({file + ": train.trainer: how long a program of yours takes is not known before it has run; plan with "
                        "trainer = \"finch\", or run it",
                 ExitCode::usage});
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  const auto host = FarmHost::start(*home, config->local_profile());
  if (!host) return fail(host.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  FarmQuestion farm(*home, *store, "plan", interrupt.token());
  Planner planner{.config = *config, .farm = farm};
  const auto facts = planner.facts();
  if (!facts) return fail(facts.error());
  const auto planned = plan_campaign(*config, *facts);
  if (!planned) return fail(planned.error());
  print(*planned, *facts, json);
  return ExitCode::done;
}

}  // namespace

void add_plan_command(CLI::App& app, Command& chosen) {
  const auto file = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("plan", "Measure a little and say how long a campaign will take");
  command->add_option("FILE", *file, "The campaign, TOML")->required();
  command->add_flag("--json", *json, "JSON instead of a table");
  command->footer("Example:\n  finch plan examples/quickstart.toml");
  command->callback([&chosen, file, json] { chosen = [file, json] { return plan(*file, *json); }; });
}

}  // namespace finch::controller
