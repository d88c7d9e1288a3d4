#include <cstdio>
#include <format>
#include <fstream>
#include <nlohmann/json.hpp>

#include "controller/campaign/campaign.hpp"
#include "controller/campaign/model_choice.hpp"
#include "controller/cli/commands.hpp"
#include "controller/config/quantity.hpp"
#include "controller/farm/home.hpp"
#include "controller/report/model_bundle.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {
namespace {

struct PickOptions {
  std::string run, latency, memory, accuracy, device, output;
  bool json = false;
};

std::expected<Limits, Error> limits_of(const PickOptions& options) {
  Limits limits{.latency_ms = {}, .memory_bytes = {}, .accuracy = {}, .device = options.device};
  const auto read = [](const std::string& text, auto parse,
                       std::optional<double>& limit) -> std::expected<void, Error> {
    if (text.empty()) return {};
    return parse(text).transform([&](double value) { limit = value; });
  };
  return read(options.latency, parse_milliseconds, limits.latency_ms)
      .and_then([&] { return read(options.memory, parse_bytes, limits.memory_bytes); })
      .and_then([&] { return read(options.accuracy, parse_share, limits.accuracy); })
      .transform([&] { return limits; });
}

// The first test images with what the device gave for them, as far as the result says it.
std::expected<void, Error> add_images(Bundle& bundle, const std::filesystem::path& test_set) {
  protocol::ImageSet set;
  std::ifstream file(test_set, std::ios::binary);
  if (!file || !set.ParseFromIstream(&file))
    return std::unexpected(Error{test_set.string() + ": the campaign's test images cannot be read from there"});
  bundle.channels = set.channels();
  bundle.height = set.height();
  bundle.width = set.width();
  const std::size_t classes = bundle.result->class_names.size();
  const auto pixels = static_cast<std::size_t>(set.channels() * set.height() * set.width());
  const std::vector<float>& logits = bundle.file->first_logits;
  if (logits.empty() || logits.size() % classes != 0) return {};
  for (std::size_t i = 0; i < logits.size() / classes; ++i) {
    BundleImage image{.pixels = {}, .label = set.labels(static_cast<int>(i)), .logits = {}};
    for (std::size_t k = 0; k < pixels; ++k)
      image.pixels.push_back(static_cast<float>(static_cast<std::uint8_t>(set.pixels()[i * pixels + k])) / 255.0F);
    const auto first = logits.begin() + static_cast<std::ptrdiff_t>(i * classes);
    image.logits.assign(first, first + static_cast<std::ptrdiff_t>(classes));
    bundle.images.push_back(std::move(image));
  }
  return {};
}

nlohmann::ordered_json json(const ModelChoice& choice, const std::string& folder) {
  const auto file = [](const ChosenFile& chosen) {
    return nlohmann::ordered_json{
        {"model", chosen.model->id}, {"precision", chosen.file->precision}, {"path", chosen.file->path}};
  };
  nlohmann::ordered_json value = {
      {"chosen", file(choice.chosen)},           {"most_accurate", file(choice.most_accurate)},
      {"tied", nlohmann::ordered_json::array()}, {"excluded", nlohmann::ordered_json::array()},
      {"explanation", choice.explanation},       {"bundle", folder}};
  for (const TiedFile& tied : choice.tied) {
    value["tied"].push_back(file(tied.file));
    value["tied"].back()["p"] = tied.p;
  }
  for (const ExcludedFile& excluded : choice.excluded) {
    value["excluded"].push_back(file(excluded.file));
    value["excluded"].back()["reasons"] = excluded.reasons;
  }
  return value;
}

ExitCode pick(const PickOptions& options) {
  const auto limits = limits_of(options);
  if (!limits) return fail(limits.error());
  auto campaign = Campaign::open(options.run);
  if (!campaign) return fail(campaign.error());
  const auto result = (*campaign)->result();
  if (!result) return fail(result.error());
  const auto choice = choose_model(*result, *limits);
  if (!choice) return fail(choice.error());
  const auto home = open_home();
  if (!home) return fail(home.error());

  const FrontModel& model = *choice->chosen.model;
  const ModelFile& file = *choice->chosen.file;
  const std::filesystem::path run = options.run;
  const std::filesystem::path folder =
      options.output.empty()
          ? run / std::format("pick-{}-{}{}", model.id, file.precision, is_tflite(file) ? "-tflite" : "")
          : std::filesystem::path(options.output);
  const auto hash = protocol::sha256_of_file(run / file.path);
  if (!hash || *hash != file.sha256)
    return fail({(run / file.path).string() + ": this is not the file that was measured, or it cannot be read"});
  const protocol::ArtifactStore artifacts(home->artifacts());
  Bundle bundle;
  bundle.result = &*result;
  bundle.model = &model;
  bundle.file = &file;
  bundle.explanation = choice->explanation;
  bundle.path = run / file.path;
  std::error_code ignored;
  if (const auto weights = artifacts.path_of(model.weights_sha256);
      !model.weights_sha256.empty() && std::filesystem::exists(weights, ignored))
    bundle.safetensors = weights;
  if (const auto added = add_images(bundle, artifacts.path_of(result->test_set_sha256)); !added)
    return fail(added.error());
  if (const auto written = write_bundle(bundle, folder); !written) return fail(written.error());
  if (options.json) {
    std::printf("%s\n", json(*choice, folder.string()).dump(2).c_str());
    return ExitCode::done;
  }
  for (const std::string& line : choice->explanation) std::printf("%s\n", line.c_str());
  std::printf("Bundle: %s\n", folder.c_str());
  if (bundle.images.empty() || !bundle.safetensors)
    std::fprintf(stderr, "finch: the run is of an earlier Finch: the bundle has no %s\n",
                 bundle.images.empty() ? "expected outputs" : "weights.safetensors");
  return ExitCode::done;
}

}  // namespace

void add_pick_command(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<PickOptions>();
  CLI::App* command = app.add_subcommand("pick", "Choose one model of a front for your limits, say why, and bundle it");
  command->add_option("RUN", options->run, "The run folder")->required();
  command->add_option("--max-latency", options->latency, "Of the median, its 95 % interval included")
      ->type_name("20ms");
  command->add_option("--max-memory", options->memory, "Of the peak while running")->type_name("64MB");
  command->add_option("--min-accuracy", options->accuracy, "On the test split, of the campaign's first objective")
      ->type_name("0.9");
  command->add_option("--device", options->device, "Judge by this device alone (default: by the worst of all)")
      ->type_name("NAME");
  command->add_option("--output", options->output, "Folder of the bundle (default: RUN/pick-MODEL)")->type_name("DIR");
  command->add_flag("--json", options->json, "JSON instead of sentences");
  command->footer(
      "Of the files that keep the limits, the fastest that the test images do not tell from the most accurate.\n\n"
      "Example:\n  finch pick runs/first --max-latency 20ms --output my-model");
  command->callback([&chosen, options] { chosen = [options] { return pick(*options); }; });
}

}  // namespace finch::controller
