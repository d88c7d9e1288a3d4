#include "controller/config/toml_reader.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
#include <numeric>
#include <toml++/toml.hpp>

namespace finch::controller {

struct TomlTable::Node {
  std::shared_ptr<toml::table> root;   // keeps the document alive
  const toml::table* table = nullptr;  // null: absent
};

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::int64_t line_of(const toml::node& node) {
  return static_cast<std::int64_t>(node.source().begin.line);
}

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date or time";
  }
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, const std::set<std::string>& candidates) {
  std::optional<std::string> best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  if (best || word.size() < 3) return best;
  const auto longer = std::ranges::find_if(candidates, [&](const auto& key) { return key.starts_with(word); });
  return longer == candidates.end() ? best : *longer;
}

std::string did_you_mean(std::string_view word, const std::set<std::string>& candidates) {
  if (const auto near = nearest(word, candidates)) return std::format("; did you mean '{}'?", *near);
  std::string all;
  for (const std::string& candidate : candidates) all += (all.empty() ? "" : ", ") + candidate;
  return "; known: " + all;
}

std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') result += '\\';
    if (static_cast<unsigned char>(character) < 0x20 || character == 0x7f) {
      result += std::format("\\u{:04x}", static_cast<unsigned>(character));
    } else {
      result += character;
    }
  }
  return result + '"';
}

std::expected<std::string, Error> read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const int failed = errno;
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(file, ignored);
  if (!stream || folder) {
    const int error = folder ? EISDIR : failed;
    return std::unexpected(
        Error{std::format("{}: cannot read: {}", file.string(), std::strerror(error)), ExitCode::usage});
  }
  return std::string{std::istreambuf_iterator<char>(stream), {}};
}

bool TomlTable::has(const char* key) {
  known_.insert(key);
  return node_->table != nullptr && node_->table->contains(key);
}

void TomlTable::complain(const char* key, const std::string& what) {
  known_.insert(key);
  const toml::node* node = node_->table == nullptr ? nullptr : node_->table->get(key);
  const std::int64_t line = node != nullptr ? line_of(*node) : node_->table != nullptr ? line_of(*node_->table) : 1;
  reader_->error(line, std::format("{}: {}", full(key), what));
}

void TomlTable::read(const char* key, std::string& value) {
  if (!has(key)) return;
  const toml::node& node = *node_->table->get(key);
  if (const auto text = node.value_exact<std::string>()) {
    value = *text;
  } else {
    complain(key, std::format("expected a string, got {}", type_name(node)));
  }
}

void TomlTable::read(const char* key, bool& value) {
  if (!has(key)) return;
  const toml::node& node = *node_->table->get(key);
  if (const auto flag = node.value_exact<bool>()) {
    value = *flag;
  } else {
    complain(key, std::format("expected true or false, got {}", type_name(node)));
  }
}

void TomlTable::read(const char* key, std::int64_t& value, std::int64_t low, std::int64_t high) {
  if (!has(key)) return;
  const toml::node& node = *node_->table->get(key);
  const auto number = node.value_exact<std::int64_t>();
  if (!number) return complain(key, std::format("expected a whole number, got {}", type_name(node)));
  if (*number < low || *number > high) return complain(key, std::format("{} is outside {} .. {}", *number, low, high));
  value = *number;
}

void TomlTable::read(const char* key, double& value, double low, double high) {
  if (!has(key)) return;
  const toml::node& node = *node_->table->get(key);
  if (!node.is_number()) return complain(key, std::format("expected a number, got {}", type_name(node)));
  const double number = *node.value<double>();
  if (!(number >= low && number <= high))
    return complain(key, std::format("{} is outside {} .. {}", number, low, high));
  value = number;
}

void TomlTable::read(const char* key, std::vector<std::string>& value) {
  if (!has(key)) return;
  const toml::array* array = node_->table->get(key)->as_array();
  if (array == nullptr)
    return complain(key, std::format("expected a list of strings, got {}", type_name(*node_->table->get(key))));
  std::vector<std::string> read;
  for (const toml::node& node : *array) {
    const auto text = node.value_exact<std::string>();
    if (!text) return complain(key, std::format("expected a list of strings, found {} in it", type_name(node)));
    read.push_back(*text);
  }
  value = std::move(read);
}

template <typename T>
void TomlTable::read_values(const char* key, const char* expected, std::vector<T>& value) {
  if (!has(key)) return;
  const toml::node& node = *node_->table->get(key);
  std::vector<T> read;
  const auto take = [&](const toml::node& each) {
    // A whole number will do where a number is asked for.
    const auto found = std::is_same_v<T, double> && each.is_integer() ? each.value<T>() : each.value_exact<T>();
    if (found) {
      read.push_back(*found);
    } else {
      complain(key, std::format("expected {}, got {}", expected, type_name(each)));
    }
    return found.has_value();
  };
  if (const toml::array* array = node.as_array()) {
    for (const toml::node& each : *array) {
      if (!take(each)) return;
    }
  } else if (!take(node)) {
    return;
  }
  value = std::move(read);
}

void TomlTable::read_list(const char* key, std::vector<std::string>& value) {
  read_values(key, "strings", value);
}
void TomlTable::read_list(const char* key, std::vector<std::int64_t>& value) {
  read_values(key, "whole numbers", value);
}
void TomlTable::read_list(const char* key, std::vector<double>& value) {
  read_values(key, "numbers", value);
}
void TomlTable::read_list(const char* key, std::vector<bool>& value) {
  read_values(key, "true or false", value);
}

void TomlTable::read_choice(const char* key, std::string& value, const std::vector<std::string>& choices) {
  std::string found = value;
  read(key, found);
  if (std::ranges::find(choices, found) == choices.end()) {
    return complain(key,
                    std::format("'{}' is not known{}", found, did_you_mean(found, {choices.begin(), choices.end()})));
  }
  value = found;
}

TomlTable TomlTable::table(const char* key) {
  auto node = std::make_shared<Node>();
  node->root = node_->root;
  if (has(key)) {
    const toml::node& found = *node_->table->get(key);
    node->table = found.as_table();
    if (node->table == nullptr)
      complain(key, std::format("expected a table, as in {} = {{ ... }}, got {}", key, type_name(found)));
  }
  return {*reader_, full(key), node};
}

void TomlTable::done() {
  if (node_->table == nullptr) return;
  for (const auto& [key, node] : *node_->table) {
    const std::string name(key.str());
    if (known_.contains(name)) continue;
    std::string near = did_you_mean(name, known_);
    if (const auto best = nearest(name, known_)) near = std::format("; did you mean '{}'?", full(*best));
    reader_->error(static_cast<std::int64_t>(key.source().begin.line),
                   std::format("key '{}' is not known{}", full(name), near));
  }
}

std::expected<std::unique_ptr<TomlReader>, Error> TomlReader::parse(const std::string& text,
                                                                    const std::filesystem::path& file) {
  std::unique_ptr<TomlReader> reader(new TomlReader);
  reader->file_ = file;
  reader->root_ = std::make_shared<TomlTable::Node>();
  try {
    reader->root_->root = std::make_shared<toml::table>(toml::parse(text, file.string()));
  } catch (const toml::parse_error& error) {
    const auto& where = error.source().begin;
    std::string what(error.description());  // it may quote a line's end
    std::ranges::replace(what, '\n', ' ');
    return std::unexpected(Error{
        std::format("{}:{}:{}: this is not TOML: {}", file.string(), where.line, where.column, what), ExitCode::usage});
  }
  reader->root_->table = reader->root_->root.get();
  return reader;
}

TomlTable TomlReader::table(const char* name) {
  if (*name == '\0') return {*this, "", root_};
  known_.insert(name);
  auto node = std::make_shared<TomlTable::Node>();
  node->root = root_->root;
  if (const toml::node* found = root_->table->get(name)) {
    node->table = found->as_table();
    if (node->table == nullptr)
      error(line_of(*found),
            std::format("'{0}' is a table: write [{0}] on a line of its own, its keys below it", name));
  }
  return {*this, name, node};
}

std::vector<TomlTable> TomlReader::tables(const char* name) {
  known_.insert(name);
  std::vector<TomlTable> all;
  const toml::node* found = root_->table->get(name);
  if (found == nullptr) return all;
  const toml::array* array = found->as_array();
  if (array == nullptr || !array->is_homogeneous<toml::table>()) {
    error(line_of(*found), std::format("'{0}' is a list of tables: write [[{0}]]", name));
    return all;
  }
  for (const toml::node& entry : *array) {
    auto node = std::make_shared<TomlTable::Node>();
    node->root = root_->root;
    node->table = entry.as_table();
    all.push_back({*this, name, node});
  }
  return all;
}

void TomlReader::error(std::int64_t line, const std::string& what) {
  errors_.emplace_back(line, what);
}

std::expected<void, Error> TomlReader::finish() {
  for (const auto& [key, node] : *root_->table) {
    const std::string name(key.str());
    if (!known_.contains(name))
      error(static_cast<std::int64_t>(key.source().begin.line),
            std::format("'{}' is not known{}", name, did_you_mean(name, known_)));
  }
  if (errors_.empty()) return {};
  std::ranges::stable_sort(errors_);
  std::string text;
  for (const auto& [line, what] : errors_)
    text += std::format("{}{}:{}: {}", text.empty() ? "" : "\n", file_.string(), line, what);
  return std::unexpected(Error{text, ExitCode::usage});
}

}  // namespace finch::controller
