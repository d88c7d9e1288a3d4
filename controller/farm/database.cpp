#include "controller/farm/database.hpp"

#include <sqlite3.h>

#include <chrono>
#include <format>
#include <thread>

namespace finch::controller {
namespace {

constexpr int kBusyMilliseconds = 20'000;

Error describe(sqlite3* database, const std::string& file) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database);
  const char* remedy = "";
  switch (code & 0xff) {
    case SQLITE_FULL:
      remedy = "; free some space there and run the command again: nothing that was recorded is lost";
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      remedy = "; the file is damaged: restore it from a backup, or move it away to start anew";
      break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      remedy = "; check the permissions of the file and its folder";
      break;
    case SQLITE_BUSY:
      remedy = "; another process has held it for 20 seconds: end that one";
      break;
    default:
      break;
  }
  return Error{std::format("{}: {}{}", file, database == nullptr ? "out of memory" : sqlite3_errmsg(database), remedy)};
}

// SQLite gives up at once, whatever the busy timeout, where two connections switch a new file to WAL: each waits for
// what the other holds.
bool switch_to_wal(sqlite3* database) {
  constexpr auto kPause = std::chrono::milliseconds(5);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kBusyMilliseconds);
  int code = SQLITE_BUSY;
  while ((code = sqlite3_exec(database, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr)) == SQLITE_BUSY &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kPause);
  }
  return code == SQLITE_OK;
}

}  // namespace

Statement::Statement(sqlite3* database, std::string_view sql, const std::string& file) : file_(file) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  statement_.reset(statement);
  if (code != SQLITE_OK) throw DatabaseFailure{describe(database, file_)};
}

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  throw DatabaseFailure{describe(sqlite3_db_handle(statement_.get()), file_)};
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double Statement::real(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}

std::string Statement::text(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return data == nullptr ? "" : std::string(static_cast<const char*>(data), size);
}

void Statement::bind_one(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
}
void Statement::bind_one(int index, double value) {
  sqlite3_bind_double(statement_.get(), index, value);
}
void Statement::bind_one(int index, std::string_view value) {
  // No bytes are an empty text, never NULL.
  const char* bytes = value.data() == nullptr ? "" : value.data();
  sqlite3_bind_text64(statement_.get(), index, bytes, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void Database::Close::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}

std::expected<Database, Error> Database::open(const std::filesystem::path& file, int version, std::string_view schema) {
  Database database;
  database.file_ = file.string();
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(file.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  database.database_.reset(handle);
  if (code != SQLITE_OK) return std::unexpected(describe(handle, database.file_));
  sqlite3_busy_timeout(handle, kBusyMilliseconds);
  if (!switch_to_wal(handle)) return std::unexpected(describe(handle, database.file_));
  try {
    database.execute("PRAGMA synchronous = FULL");
    Statement stored = database.prepare("PRAGMA user_version");
    stored.step();
    const auto found = stored.integer(0);
    if (found > version) {
      return std::unexpected(
          Error{std::format("{}: written by a newer Finch (format {}, this one knows {}); update Finch", database.file_,
                            found, version)});
    }
    if (found == version) return database;
  } catch (const DatabaseFailure& failure) {
    return std::unexpected(failure.error);
  }
  const auto created = database.transact([&] {
    Statement again = database.prepare("PRAGMA user_version");  // another process may have been quicker
    again.step();
    if (again.integer(0) == version) return;
    Statement tables = database.prepare("SELECT count(*) FROM sqlite_master WHERE ? = 0");
    if (tables.bind(again.integer(0)).step() && tables.integer(0) > 0)
      throw DatabaseFailure{Error{database.file_ + ": a database of another program; move it away"}};
    if (sqlite3_exec(handle, std::string(schema).c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      throw DatabaseFailure{describe(handle, database.file_)};
    }
    database.execute(std::format("PRAGMA user_version = {}", version));
  });
  if (!created) return std::unexpected(created.error());
  return database;
}

int Database::changes() const {
  return sqlite3_changes(database_.get());
}
std::int64_t Database::last_id() const {
  return sqlite3_last_insert_rowid(database_.get());
}
void Database::roll_back() {
  sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace finch::controller
