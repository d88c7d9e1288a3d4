// A thin wrapper over SQLite: connections in WAL mode, statements, transactions, errors for people.
// Not thread safe: one connection a thread, or a lock around it.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "controller/error.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace finch::controller {

// Thrown inside a folder's implementation only; Database::transact() turns it into an Error.
struct DatabaseFailure {
  Error error;
};

class Statement {
 public:
  Statement(sqlite3* database, std::string_view sql, const std::string& file);

  template <typename... Values>
  Statement& bind(const Values&... values) {
    int index = 0;
    (bind_one(++index, values), ...);
    return *this;
  }
  // True while there is a row.
  bool step();
  void run() { step(); }
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;  // bytes too

 private:
  void bind_one(int index, std::int64_t value);
  void bind_one(int index, std::uint64_t value) { bind_one(index, static_cast<std::int64_t>(value)); }
  void bind_one(int index, int value) { bind_one(index, static_cast<std::int64_t>(value)); }
  void bind_one(int index, double value);
  void bind_one(int index, std::string_view value);
  void bind_one(int index, const std::string& value) { bind_one(index, std::string_view(value)); }
  void bind_one(int index, const char* value) { bind_one(index, std::string_view(value)); }

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string file_;
};

class Database {
 public:
  // Creates the file when it is not there and runs `schema` then; refuses a file written with a greater `version`.
  static std::expected<Database, Error> open(const std::filesystem::path& file, int version, std::string_view schema);

  Statement prepare(std::string_view sql) { return {database_.get(), sql, file_}; }
  void execute(std::string_view sql) { prepare(sql).run(); }
  // Runs `work` in one transaction, committed durably when it returns, rolled back when it fails.
  template <typename Work>
  auto transact(Work work) -> std::expected<decltype(work()), Error> {
    try {
      execute("BEGIN IMMEDIATE");
      try {
        if constexpr (std::is_void_v<decltype(work())>) {
          work();
          execute("COMMIT");
          return {};
        } else {
          auto value = work();
          execute("COMMIT");
          return value;
        }
      } catch (...) {
        roll_back();
        throw;
      }
    } catch (const DatabaseFailure& failure) {
      return std::unexpected(failure.error);
    }
  }
  int changes() const;  // rows changed by the last statement
  std::int64_t last_id() const;

 private:
  void roll_back();
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
  std::string file_;
};

}  // namespace finch::controller
