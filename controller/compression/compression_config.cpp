#include "controller/compression/compression_config.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/event_store.hpp"
#include "controller/campaign/run_folder.hpp"
#include "controller/config/space_description.hpp"
#include "controller/config/toml_reader.hpp"
#include "protocol/job.pb.h"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

std::unexpected<Error> wrong(std::string what) {
  return std::unexpected(Error{std::move(what), ExitCode::usage});
}

std::expected<void, Error> read_description(const std::filesystem::path& file, CompressionConfig& config) {
  const auto text = read_text(file);
  if (!text) return wrong(text.error().message);
  auto reader = TomlReader::parse(*text, file);
  if (!reader) return std::unexpected(reader.error());
  const auto beside = [&](const std::string& path) { return std::filesystem::absolute(file).parent_path() / path; };
  TomlTable table = (*reader)->table("model");
  std::string space_file, genotype, weights;
  config.space = "mobilenet";
  table.read_choice("space", config.space, search::search_space_names());
  table.read("space_file", space_file);
  table.read("genotype", genotype);
  table.read("weights", weights);
  if (const auto parsed = search::parse_genotype(genotype)) {
    config.genotype = *parsed;
  } else {
    table.complain("genotype", "say which network of the space it is, as in genotype = \"0,2,1\"");
  }
  config.model = beside(weights);
  if (weights.empty()) {
    table.complain("weights", "name the file of the network's weights");
  } else if (!std::filesystem::is_regular_file(config.model)) {
    table.complain("weights", "there is no file " + config.model.string());
  }
  table.done();
  if (!space_file.empty()) {
    const auto definition = read_text(beside(space_file));
    if (!definition) return wrong(definition.error().message);
    const auto space = parse_space(*definition, beside(space_file));
    if (!space) return std::unexpected(space.error());
    config.space = space->name;
    config.space_definition = *definition;
  }
  return (*reader)->finish();
}

// How many images the campaign has set aside; nothing: it has not come to that.
std::expected<std::optional<std::int64_t>, Error> validation_samples_of(const std::filesystem::path& run) {
  if (!std::filesystem::is_regular_file(run / kCampaignDatabase)) return std::nullopt;
  auto store = EventStore::open(run / kCampaignDatabase);
  if (!store) return std::unexpected(store.error());
  const auto events = store->load();
  if (!events) return std::unexpected(events.error());
  const auto data = std::ranges::find(*events, "data", &Event::type);
  if (data == events->end()) return std::nullopt;
  return from_json<protocol::DataFacts>(data->data.at("result")).validation_samples();
}

}  // namespace

nlohmann::json to_json(const CompressionConfig& config) {
  std::vector<std::string> steps;
  for (const StepConfig& step : config.pipeline.steps) steps.push_back(step.text());
  return {{"model", config.model.string()},
          {"origin", config.origin},
          {"space", config.space},
          {"space_definition", config.space_definition},
          {"genotype", config.genotype},
          {"shape", config.shape},
          {"mean", config.mean},
          {"stddev", config.stddev},
          {"data",
           {{"format", config.data.format},
            {"path", config.data.path},
            {"validation_samples", config.data.validation_samples}}},
          {"teacher", config.teacher},
          {"device", config.device},
          {"provider", config.provider},
          {"tier", config.tier},
          {"device_threads", config.device_threads},
          {"steps", steps},
          {"max_accuracy_drop", config.pipeline.max_accuracy_drop},
          {"gain", config.pipeline.gain},
          {"epochs", config.pipeline.epochs},
          {"quantize",
           {{"calibration", config.quantize.calibration},
            {"calibration_images", config.quantize.calibration_images},
            {"qat_drop", config.quantize.qat_drop},
            {"qat_epochs", config.quantize.qat_epochs},
            {"mixed_precision", config.quantize.mixed_precision}}},
          {"batch_size", config.batch_size},
          {"learning_rate", config.learning_rate},
          {"flip", config.flip},
          {"threads", config.threads},
          {"seed", config.seed}};
}

CompressionConfig compression_config(const nlohmann::json& value) {
  CompressionConfig config;
  config.model = value.at("model").get<std::string>();
  value.at("origin").get_to(config.origin);
  value.at("space").get_to(config.space);
  value.at("space_definition").get_to(config.space_definition);
  value.at("genotype").get_to(config.genotype);
  value.at("shape").get_to(config.shape);
  value.at("mean").get_to(config.mean);
  value.at("stddev").get_to(config.stddev);
  value.at("data").at("format").get_to(config.data.format);
  value.at("data").at("path").get_to(config.data.path);
  value.at("data").at("validation_samples").get_to(config.data.validation_samples);
  value.at("teacher").get_to(config.teacher);
  value.at("device").get_to(config.device);
  value.at("provider").get_to(config.provider);
  value.at("tier").get_to(config.tier);
  value.at("device_threads").get_to(config.device_threads);
  for (const std::string text : value.at("steps")) config.pipeline.steps.push_back(parse_step(text).value());
  value.at("max_accuracy_drop").get_to(config.pipeline.max_accuracy_drop);
  value.at("gain").get_to(config.pipeline.gain);
  value.at("epochs").get_to(config.pipeline.epochs);
  value.at("quantize").at("calibration").get_to(config.quantize.calibration);
  value.at("quantize").at("calibration_images").get_to(config.quantize.calibration_images);
  value.at("quantize").at("qat_drop").get_to(config.quantize.qat_drop);
  value.at("quantize").at("qat_epochs").get_to(config.quantize.qat_epochs);
  value.at("quantize").at("mixed_precision").get_to(config.quantize.mixed_precision);
  value.at("batch_size").get_to(config.batch_size);
  value.at("learning_rate").get_to(config.learning_rate);
  value.at("flip").get_to(config.flip);
  value.at("threads").get_to(config.threads);
  value.at("seed").get_to(config.seed);
  return config;
}

std::expected<void, Error> name_model(const std::string& model, CompressionConfig& config) {
  config.origin = model;
  if (std::filesystem::is_regular_file(model)) {
    if (model.ends_with(".toml")) return read_description(model, config);
    config.model = std::filesystem::absolute(model);
    return {};
  }
  const std::size_t colon = model.rfind(':');
  if (colon != std::string::npos && std::filesystem::is_directory(model.substr(0, colon))) {
    const std::filesystem::path run = model.substr(0, colon);
    const auto file = run / "models" / (model.substr(colon + 1) + "-fp32.onnx");
    if (!std::filesystem::is_regular_file(file))
      return wrong(std::format("--model {}: there is no {}; see: finch report {}", model, file.string(), run.string()));
    config.model = std::filesystem::absolute(file);
    return validation_samples_of(run).transform([&](std::optional<std::int64_t> samples) {
      if (samples) config.data.validation_samples = *samples;
    });
  }
  return wrong(std::format("--model {}: no such file; give an ONNX file, RUN:c012, or a TOML description", model));
}

std::expected<DataConfig, Error> name_data(const std::string& data) {
  constexpr std::array kFormats = {"idx", "folder", "cifar10", "cifar100"};
  DataConfig config;
  const std::size_t colon = data.find(':');
  const bool named = colon != std::string::npos && std::ranges::contains(kFormats, data.substr(0, colon));
  config.format = named ? data.substr(0, colon) : "";
  config.path = named ? data.substr(colon + 1) : data;
  std::error_code error;
  if (!std::filesystem::is_directory(config.path, error))
    return wrong(std::format("--data {}: there is no folder {}", data, config.path));
  config.path = std::filesystem::absolute(config.path).lexically_normal().string();
  if (!config.format.empty()) return config;
  config.format = "folder";
  for (const auto& entry : std::filesystem::directory_iterator(config.path, error)) {
    const std::string name = entry.path().filename();
    if (name.contains("-idx")) config.format = "idx";
    if (name == "cifar-10-batches-bin" || name == "batches.meta.txt") config.format = "cifar10";
    if (name == "cifar-100-binary" || name == "fine_label_names.txt") config.format = "cifar100";
  }
  return config;
}

}  // namespace finch::controller
