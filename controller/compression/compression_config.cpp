#include "controller/compression/compression_config.hpp"

#include <algorithm>
#include <charconv>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/config/space_description.hpp"
#include "controller/config/toml_reader.hpp"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

struct KnownStep {
  const char* name;
  double usual, low, high;
  const char* meaning;  // of the amount; null: there is none
};
constexpr KnownStep kSteps[] = {{"distill", 1, 0.001, 10'000, "epochs"},
                                {"prune", 0.3, 0.01, 0.99, "share of the MACs to remove"},
                                {"quantize", 0, 0, 0, nullptr},
                                {"cluster", 4, 1, 8, "bits an index"}};

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

}  // namespace

std::string StepConfig::text() const {
  const auto known = std::ranges::find(kSteps, name, [](const KnownStep& step) { return std::string_view(step.name); });
  return known == std::end(kSteps) || known->meaning == nullptr ? name : std::format("{}={}", name, amount);
}

std::expected<StepConfig, Error> parse_step(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('='));
  const auto known = std::ranges::find(kSteps, name, [](const KnownStep& step) { return std::string_view(step.name); });
  if (known == std::end(kSteps)) {
    const std::set<std::string> names = {"distill", "prune", "quantize", "cluster"};
    return wrong(std::format("'{}' is no step of compression{}; there are distill, prune, quantize, cluster", name,
                             did_you_mean(name, names)));
  }
  StepConfig step{std::string(name), known->usual};
  if (name.size() == text.size()) return step;
  const std::string_view number = text.substr(name.size() + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), step.amount);
  const bool whole = error == std::errc() && end == number.data() + number.size();
  if (known->meaning == nullptr) return wrong(std::format("'{}': {} has no amount", text, name));
  if (!whole || !(step.amount >= known->low && step.amount <= known->high)) {
    return wrong(std::format("'{}': {} takes the {}, {:g} to {:g}, as in {}={:g}", text, name, known->meaning,
                             known->low, known->high, name, known->usual));
  }
  return step;
}

std::expected<std::vector<StepConfig>, Error> parse_steps(std::string_view text) {
  std::vector<StepConfig> steps;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    auto step = parse_step(text.substr(begin, end - begin));
    if (!step) return std::unexpected(step.error());
    steps.push_back(std::move(*step));
    begin = end + 1;
  }
  return steps;
}

std::vector<std::string> gain_names() {
  return {"latency", "memory", "energy", "size", "download"};
}

std::string CompressionConfig::gain_of(const StepConfig& step) const {
  if (step.name == "distill") return "accuracy";
  if (!gain.empty()) return gain;
  return step.name == "cluster" ? "download" : "latency";
}

nlohmann::json to_json(const CompressionConfig& config) {
  std::vector<std::string> steps;
  for (const StepConfig& step : config.steps) steps.push_back(step.text());
  return {{"model", config.model.string()},
          {"origin", config.origin},
          {"space", config.space},
          {"space_definition", config.space_definition},
          {"genotype", config.genotype},
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
          {"max_accuracy_drop", config.max_accuracy_drop},
          {"gain", config.gain},
          {"epochs", config.epochs},
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
  for (const std::string text : value.at("steps")) config.steps.push_back(parse_step(text).value());
  value.at("max_accuracy_drop").get_to(config.max_accuracy_drop);
  value.at("gain").get_to(config.gain);
  value.at("epochs").get_to(config.epochs);
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
    return {};
  }
  return wrong(std::format("--model {}: no such file; give an ONNX file, RUN:c012, or a TOML description", model));
}

std::expected<DataConfig, Error> name_data(const std::string& data) {
  DataConfig config;
  const std::size_t colon = data.find(':');
  config.format = colon == std::string::npos ? "" : data.substr(0, colon);
  config.path = colon == std::string::npos ? data : data.substr(colon + 1);
  std::error_code error;
  if (!std::filesystem::is_directory(config.path, error))
    return wrong(std::format("--data {}: there is no folder {}", data, config.path));
  config.path = std::filesystem::absolute(config.path).lexically_normal().string();
  if (!config.format.empty()) return config;
  const bool idx = std::ranges::any_of(std::filesystem::directory_iterator(config.path, error), [](const auto& entry) {
    return entry.path().filename().string().contains("-ubyte");
  });
  config.format = idx ? "idx" : "folder";
  return config;
}

}  // namespace finch::controller
