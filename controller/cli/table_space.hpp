// The space whose genotypes a table holds, as `finch table-bench` is told it.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "controller/error.hpp"
#include "search/search_space.hpp"

namespace finch::controller {

struct TableSpace {
  std::string space = "nasbench201";  // a built-in one, or the file of the user's own
  std::string image = "3x32x32";      // channels x height x width
  std::int64_t classes = 10;

  void add_options(CLI::App& command);
  // Errors: no such space, a file with a mistake, an image that is none; exit code `usage`.
  std::expected<std::unique_ptr<search::SearchSpace>, Error> make() const;
};

}  // namespace finch::controller
