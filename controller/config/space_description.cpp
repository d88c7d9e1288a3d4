#include "controller/config/space_description.hpp"

#include <algorithm>
#include <format>
#include <limits>

#include "controller/config/toml_reader.hpp"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();  // problems_of() says what is allowed

// Names that stand for values, each known.
template <typename T>
void read_names(TomlTable& table, const char* key, std::vector<T>& values, const std::vector<std::string>& known,
                auto parse) {
  if (!table.has(key)) return;
  std::vector<std::string> names;
  table.read_list(key, names);
  values.clear();
  for (const std::string& name : names) {
    if (const auto value = parse(name)) {
      values.push_back(*value);
    } else {
      table.complain(key, std::format("'{}' is not known{}", name, did_you_mean(name, {known.begin(), known.end()})));
    }
  }
}

search::CustomStage read_stage(TomlTable& table) {
  search::CustomStage stage;
  read_names(table, "blocks", stage.blocks, search::block_type_names(), search::parse_block_type);
  table.read_list("depth", stage.depth);
  table.read_list("channels", stage.channels);
  table.read("stride", stage.stride, -kAny, kAny);
  table.read_list("kernel_size", stage.kernel_size);
  table.read_list("expand_ratio", stage.expand_ratio);
  table.read_list("channel_ratio", stage.channel_ratio);
  table.read_list("squeeze_excite", stage.squeeze_excite);
  return stage;
}

}  // namespace

std::expected<SpaceDescription, Error> parse_space(const std::string& text, const std::filesystem::path& file) {
  auto reader = TomlReader::parse(text, file);
  if (!reader) return std::unexpected(reader.error());
  SpaceDescription description{.name = file.stem().string(), .config = {}};
  search::CustomSpaceConfig& config = description.config;
  TomlTable space = (*reader)->table("space"), stem = (*reader)->table("stem"), head = (*reader)->table("head");
  std::vector<TomlTable> stages = (*reader)->tables("stage");
  space.read("name", description.name);
  space.read_list("resolution", config.resolution);
  space.read_list("width_multiplier", config.width_multiplier);
  read_names(space, "activation", config.activation, search::activation_names(), search::parse_activation);
  stem.read("channels", config.stem_channels, -kAny, kAny);
  stem.read("kernel_size", config.stem_kernel_size, -kAny, kAny);
  stem.read("stride", config.stem_stride, -kAny, kAny);
  head.read("channels", config.head_channels, -kAny, kAny);
  for (TomlTable& table : stages) config.stages.push_back(read_stage(table));

  const auto built_in = search::search_space_names();
  if (description.name.empty()) space.complain("name", "a space has a name");
  if (std::ranges::contains(built_in, description.name))
    space.complain("name", std::format("'{}' is built in; give the space a name of its own", description.name));
  for (TomlTable* table : {&space, &stem, &head}) table->done();
  for (TomlTable& table : stages) table.done();
  // What has the wrong type already is not judged a second time.
  const bool readable = !(*reader)->failed();
  for (const search::SpaceProblem& problem :
       readable ? search::problems_of(config) : std::vector<search::SpaceProblem>{}) {
    TomlTable& table = problem.stage             ? stages[*problem.stage]
                       : problem.table == "stem" ? stem
                       : problem.table == "head" ? head
                                                 : space;
    table.complain(problem.key.c_str(), problem.what);
  }
  if (const auto finished = (*reader)->finish(); !finished) return std::unexpected(finished.error());
  return description;
}

}  // namespace finch::controller
