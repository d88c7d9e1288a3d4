// Reads TOML strictly: every key must be asked for, have its type and lie in its range; what is wrong is collected,
// each with file, line, key and the nearest known key. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "controller/error.hpp"

namespace finch::controller {

class TomlReader;

// One table of the document; absent tables read as empty.
class TomlTable {
 public:
  // Each leaves `value` as it is when the key is absent.
  void read(const char* key, std::string& value);
  void read(const char* key, bool& value);
  void read(const char* key, std::int64_t& value, std::int64_t low, std::int64_t high);
  void read(const char* key, double& value, double low, double high);
  void read(const char* key, std::vector<std::string>& value);
  // A list, or one value for a list of one.
  void read_list(const char* key, std::vector<std::string>& value);
  void read_list(const char* key, std::vector<std::int64_t>& value);
  void read_list(const char* key, std::vector<double>& value);
  void read_list(const char* key, std::vector<bool>& value);
  template <typename T>
  void read(const char* key, std::optional<T>& value, T low, T high) {
    T found{};
    if (!has(key)) return;
    read(key, found, low, high);
    value = found;
  }
  void read_choice(const char* key, std::string& value, const std::vector<std::string>& choices);
  // A table within this one, as `key = { ... }` or [name.key]; absent it reads as empty. Its done() is its own.
  TomlTable table(const char* key);
  // Records an error of this key: "<file>:<line>: <key>: <what>".
  void complain(const char* key, const std::string& what);
  bool has(const char* key);
  // After all keys were read: every other key is an error.
  void done();

 private:
  friend class TomlReader;
  struct Node;
  template <typename T>
  void read_values(const char* key, const char* expected, std::vector<T>& value);
  TomlTable(TomlReader& reader, std::string name, std::shared_ptr<Node> node)
      : reader_(&reader), name_(std::move(name)), node_(std::move(node)) {}
  std::string full(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }

  TomlReader* reader_;
  std::string name_;
  std::shared_ptr<Node> node_;
  std::set<std::string> known_;
};

class TomlReader {
 public:
  // Error: not TOML at all, with line and column.
  static std::expected<std::unique_ptr<TomlReader>, Error> parse(const std::string& text,
                                                                 const std::filesystem::path& file);

  TomlTable table(const char* name);
  std::vector<TomlTable> tables(const char* name);  // an array of tables, [[name]]
  // Whether anything was wrong so far.
  bool failed() const { return !errors_.empty(); }
  // Unknown tables are errors too. All errors, one a line.
  std::expected<void, Error> finish();

 private:
  friend class TomlTable;
  TomlReader() = default;
  void error(std::int64_t line, const std::string& what);

  std::filesystem::path file_;
  std::shared_ptr<TomlTable::Node> root_;
  std::set<std::string> known_;
  std::vector<std::pair<std::int64_t, std::string>> errors_;  // by line
};

// A basic string of TOML with quotes, whatever the text holds.
std::string toml_string(std::string_view text);
// The candidate with the smallest edit distance (Levenshtein 1966), if it is near enough to be a misspelling; else one
// that begins with the word.
std::optional<std::string> nearest(std::string_view word, const std::set<std::string>& candidates);
// "; did you mean 'x'?" or nothing.
std::string did_you_mean(std::string_view word, const std::set<std::string>& candidates);
std::expected<std::string, Error> read_text(const std::filesystem::path& file);

}  // namespace finch::controller
