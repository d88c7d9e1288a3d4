// A table of measured networks, for searches that need no farm: CSV, plain or gzip, whose first column is the genotype
// (a digit a decision) and whose others are metrics. Immutable after reading; concurrent reads are safe.
#pragma once

#include <cstddef>
#include <expected>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "controller/error.hpp"
#include "search/search_space.hpp"

namespace finch::controller {

class MetricTable {
 public:
  // Reads `columns` alone; a row that lacks one of them is outside the space. `file` names it in messages.
  // Errors, all of the user's making: no such file, damaged gzip, unknown column (names the nearest), a cell that is no
  // finite number, a genotype that the space does not have or that comes twice; with file, line and column.
  static std::expected<MetricTable, Error> read(const std::filesystem::path& file, const search::SearchSpace& space,
                                                const std::vector<std::string>& columns);
  static std::expected<MetricTable, Error> parse(const std::string& text, const std::filesystem::path& file,
                                                 const search::SearchSpace& space,
                                                 const std::vector<std::string>& columns);

  struct Row {
    search::Genotype genotype;
    std::vector<double> values;  // in the order of the columns
  };
  const std::vector<Row>& rows() const { return rows_; }
  // Of this very genotype; where the table lacks it, of the first row that is the same network.
  const Row* find(const search::Genotype& canonical) const;
  std::vector<search::Genotype> networks() const;  // canonical, each once

 private:
  std::vector<Row> rows_;
  std::map<search::Genotype, std::size_t> by_network_;
};

// The whole file, unpacked where it is gzip.
std::expected<std::string, Error> read_packed(const std::filesystem::path& file);

}  // namespace finch::controller
