#include "controller/farm/database.hpp"

#include <sqlite3.h>

#include <format>
#include <functional>
#include <map>

namespace finch::controller {
namespace {

// How long a statement waits for another process to finish its write.
constexpr int kBusyTimeoutMs = 15'000;

Error error_of(int code, const std::string& file, const char* detail) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {std::format(
          "{}: the disk is full; free some space there and start again, nothing that was recorded is lost", file)};
    case SQLITE_CORRUPT:
      return {std::format("{} is damaged ({}); restore it from a backup, or move it away to start anew", file, detail)};
    case SQLITE_NOTADB:
      return {
          std::format("{} is damaged or no database; restore it from a backup, or move it away to start anew", file)};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {
          std::format("{} cannot be written; check the owner and the permissions of the file and its folder", file)};
    case SQLITE_CANTOPEN:
      return {std::format(
          "{} cannot be opened; check that its folder exists and that you may write there (permissions, disk)", file)};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {
          std::format("{} has been locked by another process for {} s; end the program that holds it (see `fuser {}`)",
                      file, kBusyTimeoutMs / 1000, file)};
    case SQLITE_IOERR:
      return {std::format("{}: reading or writing failed ({}); check the disk and its free space", file, detail)};
    default:
      return {std::format("{}: {}", file, detail)};
  }
}

Error error_of(sqlite3* handle, const std::string& file) {
  return error_of(sqlite3_extended_errcode(handle), file, sqlite3_errmsg(handle));
}

struct CloseHandle {
  void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

struct Binder {
  sqlite3_stmt* statement;
  int index;

  int operator()(std::nullptr_t) const { return sqlite3_bind_null(statement, index); }
  int operator()(std::int64_t value) const { return sqlite3_bind_int64(statement, index, value); }
  int operator()(double value) const { return sqlite3_bind_double(statement, index, value); }
  // Copied: rows are read after the caller's values are gone.
  int operator()(std::string_view value) const {
    return sqlite3_bind_text64(statement, index, value.data() ? value.data() : "", value.size(), SQLITE_TRANSIENT,
                               SQLITE_UTF8);
  }
  int operator()(Blob value) const {
    return sqlite3_bind_blob64(statement, index, value.bytes.data() ? value.bytes.data() : "", value.bytes.size(),
                               SQLITE_TRANSIENT);
  }
};

}  // namespace

Rows::Rows(Rows&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)), file_(other.file_) {}

Rows::~Rows() {
  if (statement_) sqlite3_reset(statement_);
}

std::expected<bool, Error> Rows::next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  Error error = error_of(sqlite3_db_handle(statement_), *file_);
  sqlite3_reset(statement_);
  return std::unexpected(std::move(error));
}

bool Rows::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}
std::int64_t Rows::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}
double Rows::real(int column) const {
  return sqlite3_column_double(statement_, column);
}
std::string Rows::text(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return bytes ? std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))) : std::string();
}

struct Database::State {
  std::string file;
  // Order matters: statements are finalized before the handle is closed.
  std::unique_ptr<sqlite3, CloseHandle> handle;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, FinalizeStatement>, std::less<>> statements;
};

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

std::expected<Database, Error> Database::open(const std::filesystem::path& file,
                                              std::span<const char* const> migrations) {
  auto state = std::make_unique<State>();
  state->file = file.string();
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(state->file.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  state->handle.reset(handle);
  if (code != SQLITE_OK) return std::unexpected(error_of(code, state->file, sqlite3_errstr(code)));
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  Database database(std::move(state));
  // FULL: a committed transaction survives a power cut too, not only a killed process.
  if (auto done = database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON"); !done) {
    return std::unexpected(done.error());
  }
  if (auto done = database.migrate(migrations); !done) return std::unexpected(done.error());
  return database;
}

std::expected<void, Error> Database::migrate(std::span<const char* const> migrations) {
  const auto known = static_cast<std::int64_t>(migrations.size());
  const auto number = [&](std::string_view sql) -> std::expected<std::int64_t, Error> {
    auto rows = query(sql);
    if (!rows) return std::unexpected(rows.error());
    if (auto row = rows->next(); !row) return std::unexpected(row.error());
    return rows->integer(0);
  };
  const auto check = [&]() -> std::expected<std::int64_t, Error> {
    auto version = number("PRAGMA user_version");
    if (!version) return version;
    if (*version > known) {
      return std::unexpected(Error{std::format(
          "{} was written by a newer Finch (schema {}, this one knows {}); use that version, or another folder",
          state_->file, *version, known)});
    }
    if (*version == 0) {
      auto tables = number("SELECT count(*) FROM sqlite_master");
      if (!tables) return tables;
      if (*tables > 0) {
        return std::unexpected(Error{
            std::format("{} is a database of another program; move it away, or use another folder", state_->file)});
      }
    }
    return version;
  };
  auto version = check();
  if (!version) return std::unexpected(version.error());
  if (*version == known) return {};
  return transact([&]() -> std::expected<void, Error> {
    // Another process may have migrated while this one waited for the write lock.
    auto current = check();
    if (!current) return std::unexpected(current.error());
    for (auto i = *current; i < known; ++i) {
      if (auto done = exec(migrations[static_cast<std::size_t>(i)]); !done) return done;
    }
    return exec(std::format("PRAGMA user_version={}", known).c_str());
  });
}

std::expected<void, Error> Database::exec(const char* sql) {
  if (sqlite3_exec(state_->handle.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return std::unexpected(error_of(state_->handle.get(), state_->file));
  }
  return {};
}

std::expected<Rows, Error> Database::query(std::string_view sql, std::initializer_list<Value> values) {
  auto found = state_->statements.find(sql);
  if (found == state_->statements.end()) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v3(state_->handle.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                           &statement, nullptr) != SQLITE_OK) {
      return std::unexpected(error_of(state_->handle.get(), state_->file));
    }
    found = state_->statements.emplace(std::string(sql), statement).first;
  }
  sqlite3_stmt* statement = found->second.get();
  int index = 0;
  for (const Value& value : values) {
    if (std::visit(Binder{statement, ++index}, value.get()) != SQLITE_OK) {
      return std::unexpected(error_of(state_->handle.get(), state_->file));
    }
  }
  return Rows(statement, &state_->file);
}

std::expected<std::int64_t, Error> Database::run(std::string_view sql, std::initializer_list<Value> values) {
  auto rows = query(sql, values);
  if (!rows) return std::unexpected(rows.error());
  while (true) {
    auto row = rows->next();
    if (!row) return std::unexpected(row.error());
    if (!*row) return sqlite3_changes64(state_->handle.get());
  }
}

std::expected<void, Error> Database::begin() {
  // IMMEDIATE: waits for the write lock here, so that no statement inside fails half-way with "busy".
  if (auto done = run("BEGIN IMMEDIATE"); !done) return std::unexpected(done.error());
  return {};
}

std::expected<void, Error> Database::commit() {
  if (auto done = run("COMMIT"); !done) return std::unexpected(done.error());
  return {};
}

void Database::roll_back() {
  // After some errors (disk full) SQLite has rolled back by itself.
  if (!sqlite3_get_autocommit(state_->handle.get())) (void)run("ROLLBACK");
}

std::int64_t Database::data_version() {
  auto rows = query("PRAGMA data_version");
  if (!rows) return -1;
  const auto row = rows->next();
  return row && *row ? rows->integer(0) : -1;
}

}  // namespace finch::controller
