#include "controller/farm/farm_store.hpp"

#include <array>
#include <format>

#include "controller/farm/farm_store_state.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {
namespace {

// job.state holds JobState's numbers: 0 queued, 1 leased, 2 done, 3 failed, 4 cancelled.
static_assert(static_cast<int>(JobState::queued) == 0 && static_cast<int>(JobState::leased) == 1 &&
              static_cast<int>(JobState::done) == 2 && static_cast<int>(JobState::failed) == 3 &&
              static_cast<int>(JobState::cancelled) == 4);

// The fencing counter begins at the time, so that a farm.db made anew never gives a token that an earlier one gave.
constexpr std::array kMigrations = {R"sql(
CREATE TABLE job (
  key TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL,            -- greater: asked for later
  spec BLOB NOT NULL,                   -- protocol::Job
  target TEXT NOT NULL,
  priority INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  worker TEXT NOT NULL DEFAULT '',
  token INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  progress REAL NOT NULL DEFAULT 0,
  message TEXT NOT NULL DEFAULT '',
  result BLOB,                          -- protocol::JobResult
  submitted TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  finished TEXT
) WITHOUT ROWID;
CREATE INDEX job_queue ON job (priority DESC, sequence) WHERE state = 0;
CREATE INDEX job_leased ON job (key) WHERE state = 1;
CREATE TABLE wanted (                   -- unfinished jobs and who waits for them
  key TEXT NOT NULL REFERENCES job (key),
  campaign TEXT NOT NULL,
  PRIMARY KEY (key, campaign)
) WITHOUT ROWID;
CREATE INDEX wanted_by ON wanted (campaign);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('token', CAST(strftime('%s', 'now') AS INTEGER) * 1000), ('sequence', 0);
CREATE TABLE device (
  name TEXT PRIMARY KEY,
  profile TEXT NOT NULL,
  description BLOB,                     -- protocol::DeviceDescription; NULL: has not connected yet
  connected INTEGER NOT NULL DEFAULT 0,
  last_seen TEXT NOT NULL DEFAULT '',
  admitted INTEGER NOT NULL DEFAULT 0   -- may connect: has redeemed its invitation
) WITHOUT ROWID;
CREATE TABLE invitation (
  token_hash TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE REFERENCES device (name),
  expires INTEGER NOT NULL              -- Unix time
) WITHOUT ROWID;
)sql"};

constexpr std::string_view kStatusColumns = "key, state, worker, token, attempts, progress, message, result";

JobStatus read_status(const Rows& row) {
  return {.key = row.text(0),
          .state = static_cast<JobState>(row.integer(1)),
          .worker = row.text(2),
          .token = row.unsigned_integer(3),
          .attempts = static_cast<int>(row.integer(4)),
          .progress = row.real(5),
          .message = row.text(6),
          .result = row.text(7)};
}

std::expected<std::optional<JobStatus>, Error> find_status(Database& database, const std::string& key) {
  static const std::string kSql = std::format("SELECT {} FROM job WHERE key = ?", kStatusColumns);
  auto rows = database.query(kSql, {key});
  if (!rows) return std::unexpected(rows.error());
  auto row = rows->next();
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  return read_status(*rows);
}

std::expected<std::uint64_t, Error> next_number(Database& database, std::string_view counter) {
  auto rows = database.query("UPDATE counter SET value = value + 1 WHERE name = ? RETURNING value", {counter});
  if (!rows) return std::unexpected(rows.error());
  auto row = rows->next();
  if (!row) return std::unexpected(row.error());
  const auto value = rows->unsigned_integer(0);
  // The statement has its effect only when it is stepped to its end.
  if (auto end = rows->next(); !end) return std::unexpected(end.error());
  return value;
}

std::expected<void, Error> without_value(std::expected<std::int64_t, Error> changed) {
  return changed.transform([](std::int64_t) {});
}

std::expected<bool, Error> finish(Database& database, const std::string& key, std::uint64_t token, JobState state,
                                  const std::string& result) {
  auto changed = database.run(
      "UPDATE job SET state = ?, result = ?, message = '', finished = strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), "
      "progress = CASE WHEN ?1 = 2 THEN 1 ELSE progress END WHERE key = ? AND token = ? AND state = 1",
      {static_cast<int>(state), Blob{result}, key, token});
  if (!changed) return std::unexpected(changed.error());
  if (*changed == 0) return false;
  if (auto done = database.run("DELETE FROM wanted WHERE key = ?", {key}); !done) return std::unexpected(done.error());
  return true;
}

}  // namespace

FarmStore::FarmStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
FarmStore::FarmStore(FarmStore&&) noexcept = default;
FarmStore& FarmStore::operator=(FarmStore&&) noexcept = default;
FarmStore::~FarmStore() = default;

std::expected<FarmStore, Error> FarmStore::open(const std::filesystem::path& file) {
  auto database = Database::open(file, kMigrations);
  if (!database) return std::unexpected(database.error());
  return FarmStore(std::unique_ptr<State>(new State{{}, std::move(*database)}));
}

std::expected<JobStatus, Error> FarmStore::submit(const Submission& submission) {
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  // A finished job is the common case of a resumed campaign: no write for it.
  auto before = find_status(database, submission.key);
  if (!before) return std::unexpected(before.error());
  if (*before && (*before)->state == JobState::done) {
    (*before)->existed = true;
    return **before;
  }
  return database.transact([&]() -> std::expected<JobStatus, Error> {
    auto known = find_status(database, submission.key);
    if (!known) return std::unexpected(known.error());
    const bool existed = known->has_value();
    if (existed && (*known)->state == JobState::done) {
      (*known)->existed = true;
      return **known;
    }
    if (existed && ((*known)->state == JobState::queued || (*known)->state == JobState::leased)) {
      auto raised = database.run("UPDATE job SET priority = max(priority, ?) WHERE key = ?",
                                 {submission.priority, submission.key});
      if (!raised) return std::unexpected(raised.error());
    } else {
      auto sequence = next_number(database, "sequence");
      if (!sequence) return std::unexpected(sequence.error());
      auto queued = database.run(
          "INSERT INTO job (key, sequence, spec, target, priority) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
          "SET sequence = excluded.sequence, spec = excluded.spec, target = excluded.target, priority = "
          "excluded.priority, state = 0, worker = '', attempts = 0, progress = 0, message = '', result = NULL, "
          "finished = NULL",
          {submission.key, *sequence, Blob{submission.job}, submission.target, submission.priority});
      if (!queued) return std::unexpected(queued.error());
    }
    auto wanted = database.run("INSERT OR IGNORE INTO wanted VALUES (?, ?)", {submission.key, submission.campaign});
    if (!wanted) return std::unexpected(wanted.error());
    auto now = find_status(database, submission.key);
    if (!now) return std::unexpected(now.error());
    (*now)->existed = existed;
    return **now;
  });
}

std::expected<std::optional<JobStatus>, Error> FarmStore::find(const std::string& key) {
  const std::lock_guard lock(state_->mutex);
  return find_status(state_->database, key);
}

std::expected<void, Error> FarmStore::withdraw(const std::string& campaign, std::span<const std::string> keys) {
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  // ?2: one key, or NULL for all of the campaign's.
  const auto withdraw_one = [&](Value key) -> std::expected<void, Error> {
    auto cancelled = database.run(
        "UPDATE job SET state = 4, finished = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE state IN (0, 1) "
        "AND key IN (SELECT key FROM wanted WHERE campaign = ?1 AND (?2 IS NULL OR key = ?2)) "
        "AND NOT EXISTS (SELECT 1 FROM wanted WHERE wanted.key = job.key AND campaign <> ?1)",
        {campaign, key});
    if (!cancelled) return std::unexpected(cancelled.error());
    return without_value(
        database.run("DELETE FROM wanted WHERE campaign = ?1 AND (?2 IS NULL OR key = ?2)", {campaign, key}));
  };
  return database.transact([&]() -> std::expected<void, Error> {
    if (keys.empty()) return withdraw_one(nullptr);
    for (const auto& key : keys) {
      if (auto done = withdraw_one(key); !done) return done;
    }
    return {};
  });
}

std::int64_t FarmStore::data_version() {
  const std::lock_guard lock(state_->mutex);
  return state_->database.data_version();
}

std::expected<std::vector<QueuedJob>, Error> FarmStore::queued() {
  const std::lock_guard lock(state_->mutex);
  auto rows = state_->database.query(
      "SELECT key, target, priority, spec FROM job WHERE state = 0 ORDER BY priority DESC, sequence");
  if (!rows) return std::unexpected(rows.error());
  std::vector<QueuedJob> jobs;
  while (true) {
    auto row = rows->next();
    if (!row) return std::unexpected(row.error());
    if (!*row) return jobs;
    jobs.push_back({rows->text(0), rows->text(1), static_cast<int>(rows->integer(2)), rows->text(3)});
  }
}

std::expected<std::optional<QueuedJob>, Error> FarmStore::job(const std::string& key) {
  const std::lock_guard lock(state_->mutex);
  auto rows = state_->database.query("SELECT key, target, priority, spec FROM job WHERE key = ?", {key});
  if (!rows) return std::unexpected(rows.error());
  auto row = rows->next();
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  return QueuedJob{rows->text(0), rows->text(1), static_cast<int>(rows->integer(2)), rows->text(3)};
}

std::expected<std::optional<std::uint64_t>, Error> FarmStore::lease(const std::string& key, const std::string& worker) {
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  return database.transact([&]() -> std::expected<std::optional<std::uint64_t>, Error> {
    auto token = next_number(database, "token");
    if (!token) return std::unexpected(token.error());
    auto leased = database.run(
        "UPDATE job SET state = 1, worker = ?, token = ?, attempts = attempts + 1, progress = 0, message = '' "
        "WHERE key = ? AND state = 0",
        {worker, *token, key});
    if (!leased) return std::unexpected(leased.error());
    if (*leased == 0) return std::nullopt;
    return *token;
  });
}

std::expected<bool, Error> FarmStore::holds(const std::string& key, std::uint64_t token) {
  const std::lock_guard lock(state_->mutex);
  auto rows = state_->database.query("SELECT 1 FROM job WHERE key = ? AND token = ? AND state = 1", {key, token});
  if (!rows) return std::unexpected(rows.error());
  return rows->next();
}

std::expected<void, Error> FarmStore::report_progress(const std::string& key, std::uint64_t token, double fraction,
                                                      const std::string& message) {
  const std::lock_guard lock(state_->mutex);
  return without_value(
      state_->database.run("UPDATE job SET progress = ?, message = ? WHERE key = ? AND token = ? AND state = 1",
                           {fraction, message, key, token}));
}

std::expected<bool, Error> FarmStore::complete(const std::string& key, std::uint64_t token, const std::string& result,
                                               bool failed) {
  const std::lock_guard lock(state_->mutex);
  return state_->database.transact(
      [&] { return finish(state_->database, key, token, failed ? JobState::failed : JobState::done, result); });
}

std::expected<void, Error> FarmStore::release(const std::string& key, std::uint64_t token, const std::string& why,
                                              int max_attempts) {
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  return database.transact([&]() -> std::expected<void, Error> {
    auto status = find_status(database, key);
    if (!status) return std::unexpected(status.error());
    if (!*status || (*status)->token != token || (*status)->state != JobState::leased) return {};
    if ((*status)->attempts >= max_attempts) {
      protocol::JobResult result;
      result.mutable_failure()->set_message(std::format("given up after {} attempts, the last one on {}: {}",
                                                        (*status)->attempts, (*status)->worker, why));
      return finish(database, key, token, JobState::failed, result.SerializeAsString()).transform([](bool) {});
    }
    return without_value(database.run("UPDATE job SET state = 0, progress = 0, message = ? WHERE key = ?", {why, key}));
  });
}

std::expected<void, Error> FarmStore::requeue(const std::string& key, std::uint64_t token) {
  const std::lock_guard lock(state_->mutex);
  return without_value(state_->database.run(
      "UPDATE job SET state = 0, progress = 0, message = '', attempts = attempts - 1 WHERE key = ? AND token = ? "
      "AND state = 1",
      {key, token}));
}

std::expected<std::vector<JobStatus>, Error> FarmStore::leased() {
  const std::lock_guard lock(state_->mutex);
  static const std::string kSql = std::format("SELECT {} FROM job WHERE state = 1 ORDER BY key", kStatusColumns);
  auto rows = state_->database.query(kSql);
  if (!rows) return std::unexpected(rows.error());
  std::vector<JobStatus> leases;
  while (true) {
    auto row = rows->next();
    if (!row) return std::unexpected(row.error());
    if (!*row) return leases;
    leases.push_back(read_status(*rows));
  }
}

}  // namespace finch::controller
