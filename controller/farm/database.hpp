// One SQLite file in WAL mode behind prepared statements and transactions; every failure is an Error that names the
// file and the remedy. Not thread safe: the owner serialises calls. Several processes may have the same file open.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "controller/error.hpp"

struct sqlite3_stmt;

namespace finch::controller {

// Bytes to bind as a BLOB; borrowed for the call.
struct Blob {
  std::string_view bytes;
};

// What is bound to a `?`; borrowed for the call. Tokens and ids (unsigned 64 bit) are kept as the same 64 bits.
class Value {
 public:
  Value(std::nullptr_t) : value_(nullptr) {}
  Value(bool value) : value_(std::int64_t{value}) {}
  Value(int value) : value_(std::int64_t{value}) {}
  Value(std::int64_t value) : value_(value) {}
  Value(std::uint64_t value) : value_(static_cast<std::int64_t>(value)) {}
  Value(double value) : value_(value) {}
  Value(const char* value) : value_(std::string_view(value)) {}
  Value(std::string_view value) : value_(value) {}
  Value(const std::string& value) : value_(std::string_view(value)) {}
  Value(Blob value) : value_(value) {}

  const auto& get() const { return value_; }

 private:
  std::variant<std::nullptr_t, std::int64_t, double, std::string_view, Blob> value_;
};

// The rows of a running query; must not outlive its Database, nor stay open over another query with the same text.
class Rows {
 public:
  Rows(Rows&& other) noexcept;
  Rows& operator=(Rows&&) = delete;
  ~Rows();

  // Goes to the next row; false after the last one. The columns below are of that row, counted from 0.
  std::expected<bool, Error> next();
  bool is_null(int column) const;
  std::int64_t integer(int column) const;
  std::uint64_t unsigned_integer(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  double real(int column) const;
  std::string text(int column) const;  // a BLOB's bytes too

 private:
  friend class Database;
  Rows(sqlite3_stmt* statement, const std::string* file) : statement_(statement), file_(file) {}
  sqlite3_stmt* statement_;
  const std::string* file_;
};

class Database {
 public:
  // migrations[i] takes the schema (user_version) from i to i + 1; a new file runs all of them. Errors: not writable,
  // damaged, not a Finch database, schema newer than the migrations known here, disk full.
  static std::expected<Database, Error> open(const std::filesystem::path& file,
                                             std::span<const char* const> migrations);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  // One or more statements without values, not cached.
  std::expected<void, Error> exec(const char* sql);
  // Runs one statement to its end; gives the number of rows it changed. `sql` is prepared once and kept.
  std::expected<std::int64_t, Error> run(std::string_view sql, std::initializer_list<Value> values = {});
  std::expected<Rows, Error> query(std::string_view sql, std::initializer_list<Value> values = {});

  // Runs `work` (returning std::expected<T, Error>) as one write transaction: committed when it gives a value, rolled
  // back when it gives an error or throws.
  template <typename Work>
  auto transact(Work&& work) -> decltype(work()) {
    auto begun = begin();
    if (!begun) return std::unexpected(begun.error());
    Rollback rollback{this};
    auto result = work();
    if (!result) return result;
    if (auto committed = commit(); !committed) return std::unexpected(committed.error());
    rollback.database = nullptr;
    return result;
  }

  // Changes whenever another connection or process wrote; -1 when the file cannot be read any more.
  std::int64_t data_version();

 private:
  struct State;
  struct Rollback {
    Database* database;
    ~Rollback() {
      if (database) database->roll_back();
    }
  };
  explicit Database(std::unique_ptr<State> state);
  std::expected<void, Error> begin();
  std::expected<void, Error> commit();
  void roll_back();
  std::expected<void, Error> migrate(std::span<const char* const> migrations);
  std::unique_ptr<State> state_;
};

}  // namespace finch::controller
