#include "controller/cli/table_space.hpp"

#include <cstdio>
#include <format>

#include "controller/config/space_description.hpp"
#include "controller/config/toml_reader.hpp"

namespace finch::controller {

void TableSpace::add_options(CLI::App& command) {
  command.add_option("--space", space, "The space of the genotypes, or the .toml file of one of your own")
      ->capture_default_str();
  command.add_option("--image", image, "The images that the space is made for")
      ->type_name("CHANNELSxHEIGHTxWIDTH")
      ->capture_default_str();
  command.add_option("--classes", classes, "Their classes")->check(CLI::Range(2, 1'000'000))->capture_default_str();
}

std::expected<std::unique_ptr<search::SearchSpace>, Error> TableSpace::make() const {
  search::SpaceConfig config{.name = space, .image = {}, .classes = classes};
  long long channels = 0, height = 0, width = 0;
  int end = 0;
  if (std::sscanf(image.c_str(), "%lldx%lldx%lld%n", &channels, &height, &width, &end) != 3 ||
      static_cast<std::size_t>(end) != image.size()) {
    return std::unexpected(
        Error{std::format("--image {}: give channels, height and width, as in 1x28x28", image), ExitCode::usage});
  }
  config.image = {channels, height, width};
  if (space.ends_with(".toml")) {
    auto description = read_text(space).and_then([&](const std::string& text) { return parse_space(text, space); });
    if (!description) return std::unexpected(description.error());
    config.name = description->name;
    config.custom = std::move(description->config);
  }
  auto made = search::make_search_space(config);
  if (!made) return std::unexpected(Error{made.error().message, ExitCode::usage});
  return std::move(*made);
}

}  // namespace finch::controller
