#include "controller/bench/metric_table.hpp"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <format>
#include <memory>
#include <ranges>
#include <set>
#include <string_view>

#include "controller/config/toml_reader.hpp"

namespace finch::controller {
namespace {

std::unexpected<Error> wrong(const std::filesystem::path& file, const std::string& what) {
  return std::unexpected(Error{std::format("{}: {}", file.string(), what), ExitCode::usage});
}

std::unexpected<Error> wrong(const std::filesystem::path& file, std::size_t line, const std::string& what) {
  return std::unexpected(Error{std::format("{}:{}: {}", file.string(), line, what), ExitCode::usage});
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> cells;
  for (const auto cell : line | std::views::split(',')) cells.push_back(trimmed(std::string_view(cell)));
  return cells;
}

std::expected<search::Genotype, std::string> genotype_of(std::string_view text, const search::SearchSpace& space) {
  auto parsed = search::parse_digits(text);
  if (!parsed) return std::unexpected(parsed.error().message);
  search::Genotype genotype = std::move(*parsed);
  if (genotype.size() != space.decisions().size()) {
    return std::unexpected(std::format("genotype '{}' has {} digits; the space {} has {} decisions", text,
                                       genotype.size(), space.name(), space.decisions().size()));
  }
  if (!space.valid(genotype))
    return std::unexpected(std::format("genotype '{}' does not belong to the space {}", text, space.name()));
  return genotype;
}

}  // namespace

std::expected<std::string, Error> read_packed(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return wrong(file, "there is no such file");
  if (!std::filesystem::is_regular_file(file, ignored)) return wrong(file, "this is no file");
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> packed(gzopen(file.c_str(), "rb"), gzclose);
  if (!packed) return wrong(file, "it cannot be read");
  std::string text;
  std::vector<char> part(1 << 16);
  while (true) {
    const int count = gzread(packed.get(), part.data(), static_cast<unsigned>(part.size()));
    if (count > 0) text.append(part.data(), static_cast<std::size_t>(count));
    int error = Z_OK;
    gzerror(packed.get(), &error);
    if (count < 0 || (error != Z_OK && error != Z_STREAM_END)) return wrong(file, "damaged, or cut off; get it again");
    if (count == 0) return text;
  }
}

std::expected<MetricTable, Error> MetricTable::read(const std::filesystem::path& file, const search::SearchSpace& space,
                                                    const std::vector<std::string>& columns) {
  return read_packed(file).and_then([&](const std::string& text) { return parse(text, file, space, columns); });
}

std::expected<MetricTable, Error> MetricTable::parse(const std::string& text, const std::filesystem::path& file,
                                                     const search::SearchSpace& space,
                                                     const std::vector<std::string>& columns) {
  MetricTable table;
  std::vector<std::size_t> places;  // of the columns
  std::vector<std::string_view> header;
  std::size_t number = 0;
  std::set<search::Genotype> seen;
  for (const auto part : text | std::views::split('\n')) {
    ++number;
    const std::string_view line{part};
    if (trimmed(line).empty()) continue;
    const std::vector<std::string_view> cells = split(line);
    if (header.empty()) {
      header = cells;
      if (header.front() != "genotype")
        return wrong(file, number, std::format("the first column is '{}'; it must be 'genotype'", header.front()));
      const std::set<std::string> known(header.begin() + 1, header.end());
      for (const std::string& column : columns) {
        const auto found = std::ranges::find(header.begin() + 1, header.end(), column);
        if (found == header.end())
          return wrong(file, number, std::format("there is no column '{}'{}", column, did_you_mean(column, known)));
        if (std::find(found + 1, header.end(), column) != header.end())
          return wrong(file, number, std::format("column '{}' comes twice", column));
        places.push_back(static_cast<std::size_t>(found - header.begin()));
      }
      continue;
    }
    if (cells.size() != header.size())
      return wrong(file, number, std::format("{} cells; the header has {}", cells.size(), header.size()));
    auto genotype = genotype_of(cells.front(), space);
    if (!genotype) return wrong(file, number, "genotype: " + genotype.error());
    if (!seen.insert(*genotype).second)
      return wrong(file, number, std::format("genotype: '{}' comes twice", cells.front()));
    Row row{.genotype = std::move(*genotype), .values = {}};
    for (std::size_t i = 0; i < columns.size() && !cells[places[i]].empty(); ++i) {
      const std::string_view cell = cells[places[i]];
      double value = 0;
      const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
      if (error != std::errc() || end != cell.data() + cell.size() || !std::isfinite(value))
        return wrong(file, number, std::format("{}: '{}' is no number", columns[i], cell));
      row.values.push_back(value);
    }
    if (row.values.size() == columns.size()) table.rows_.push_back(std::move(row));
  }
  if (header.empty()) return wrong(file, "it is empty; the first line names the columns, genotype first");
  if (table.rows_.empty()) return wrong(file, "no row has all the columns");
  for (std::size_t i = 0; i < table.rows_.size(); ++i)
    table.by_network_.try_emplace(space.canonical(table.rows_[i].genotype), i);
  for (std::size_t i = 0; i < table.rows_.size(); ++i) {
    const search::Genotype& genotype = table.rows_[i].genotype;
    if (space.canonical(genotype) == genotype) table.by_network_[genotype] = i;
  }
  return table;
}

const MetricTable::Row* MetricTable::find(const search::Genotype& canonical) const {
  const auto found = by_network_.find(canonical);
  return found == by_network_.end() ? nullptr : &rows_[found->second];
}

std::vector<search::Genotype> MetricTable::networks() const {
  std::vector<search::Genotype> all;
  for (const auto& [network, row] : by_network_) all.push_back(network);
  return all;
}

}  // namespace finch::controller
