#include "controller/farm/farm_store.hpp"

#include <format>

#include "controller/farm/farm_store_state.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {
namespace {

constexpr int kVersion = 1;
// Fencing tokens begin at the time, so that a file made anew gives none that an earlier one gave.
constexpr const char* kSchema = R"(
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, state TEXT NOT NULL, target TEXT NOT NULL, priority INTEGER NOT NULL,
  job BLOB NOT NULL, worker TEXT NOT NULL DEFAULT '', token INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
  progress REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', result BLOB NOT NULL DEFAULT '');
CREATE INDEX jobs_by_state ON jobs (state);
CREATE TABLE wanted (key TEXT NOT NULL, campaign TEXT NOT NULL, PRIMARY KEY (key, campaign));
CREATE TABLE fencing (last INTEGER NOT NULL);
INSERT INTO fencing VALUES (1000 * unixepoch('now'));
CREATE TABLE devices (
  name TEXT PRIMARY KEY, profile TEXT NOT NULL, description BLOB NOT NULL DEFAULT '', connected INTEGER NOT NULL DEFAULT 0,
  last_seen TEXT NOT NULL DEFAULT '', admitted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE invitations (token_hash TEXT PRIMARY KEY, name TEXT NOT NULL, profile TEXT NOT NULL, expires INTEGER NOT NULL);
)";

constexpr const char* kStatusColumns = "key, state, worker, token, attempts, progress, message, result";
constexpr const char* kStates[] = {"queued", "leased", "done", "failed", "cancelled"};

JobState parse_state(const std::string& text) {
  for (std::size_t i = 0; i < std::size(kStates); ++i) {
    if (text == kStates[i]) return static_cast<JobState>(i);
  }
  return JobState::failed;
}

JobStatus status_row(const Statement& row) {
  return {.key = row.text(0),
          .state = parse_state(row.text(1)),
          .worker = row.text(2),
          .token = static_cast<std::uint64_t>(row.integer(3)),
          .attempts = static_cast<int>(row.integer(4)),
          .progress = row.real(5),
          .message = row.text(6),
          .result = row.text(7)};
}

std::string failure_result(const std::string& why) {
  protocol::JobResult result;
  result.mutable_failure()->set_message(why);
  result.mutable_failure()->set_retryable(true);
  return result.SerializeAsString();
}

}  // namespace

FarmStore::FarmStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
FarmStore::FarmStore(FarmStore&&) noexcept = default;
FarmStore& FarmStore::operator=(FarmStore&&) noexcept = default;
FarmStore::~FarmStore() = default;

std::expected<FarmStore, Error> FarmStore::open(const std::filesystem::path& file) {
  return Database::open(file, kVersion, kSchema).transform([](Database&& database) {
    return FarmStore(std::make_unique<State>(std::move(database)));
  });
}

std::expected<JobStatus, Error> FarmStore::submit(const Submission& submission) {
  return state_->transact([&] {
    Database& db = state_->database;
    Statement insert = db.prepare(
        "INSERT INTO jobs (key, state, target, priority, job) VALUES (?, 'queued', ?, ?, ?) ON CONFLICT (key) DO "
        "NOTHING");
    insert.bind(submission.key, submission.target, submission.priority, submission.job).run();
    const bool existed = db.changes() == 0;
    if (existed) {
      // The job itself too: what does not count in its key (where the data lie) may be another now.
      db.prepare(
            "UPDATE jobs SET state = 'queued', attempts = 0, worker = '', progress = 0, message = '', result = '', "
            "target = ?, priority = ?, job = ? WHERE key = ? AND state IN ('failed', 'cancelled')")
          .bind(submission.target, submission.priority, submission.job, submission.key)
          .run();
      db.prepare("UPDATE jobs SET priority = max(priority, ?) WHERE key = ? AND state IN ('queued', 'leased')")
          .bind(submission.priority, submission.key)
          .run();
    }
    db.prepare("INSERT OR IGNORE INTO wanted VALUES (?, ?)").bind(submission.key, submission.campaign).run();
    const bool wanted_before = db.changes() == 0;
    Statement select = db.prepare(std::format("SELECT {} FROM jobs WHERE key = ?", kStatusColumns));
    select.bind(submission.key).step();
    JobStatus status = status_row(select);
    status.existed = existed && !wanted_before;
    return status;
  });
}

std::expected<void, Error> FarmStore::forget_result(const std::string& key) {
  return state_->transact([&] {
    state_->database
        .prepare(
            "UPDATE jobs SET state = 'queued', attempts = 0, worker = '', progress = 0, message = '', result = '' "
            "WHERE key = ? AND state = 'done'")
        .bind(key)
        .run();
  });
}

std::expected<std::optional<JobStatus>, Error> FarmStore::find(const std::string& key) {
  const std::scoped_lock lock(state_->mutex);
  try {
    Statement select = state_->database.prepare(std::format("SELECT {} FROM jobs WHERE key = ?", kStatusColumns));
    if (!select.bind(key).step()) return std::nullopt;
    return status_row(select);
  } catch (const DatabaseFailure& failure) {
    return std::unexpected(failure.error);
  }
}

std::expected<std::vector<FinishedJob>, Error> FarmStore::finished() {
  return state_->transact([&] {
    std::vector<FinishedJob> jobs;
    Statement select = state_->database.prepare("SELECT key, job, result FROM jobs WHERE state = 'done' ORDER BY id");
    while (select.step()) jobs.push_back({.key = select.text(0), .job = select.text(1), .result = select.text(2)});
    return jobs;
  });
}

std::expected<void, Error> FarmStore::withdraw(const std::string& campaign, std::span<const std::string> keys) {
  return state_->transact([&] {
    Database& db = state_->database;
    const std::string unfinished = " AND key IN (SELECT key FROM jobs WHERE state IN ('queued', 'leased'))";
    if (keys.empty()) db.prepare("DELETE FROM wanted WHERE campaign = ?" + unfinished).bind(campaign).run();
    for (const std::string& key : keys) {
      db.prepare("DELETE FROM wanted WHERE campaign = ? AND key = ?" + unfinished).bind(campaign, key).run();
    }
    db.execute(
        "UPDATE jobs SET state = 'cancelled' WHERE state IN ('queued', 'leased') AND key NOT IN (SELECT key FROM "
        "wanted)");
  });
}

std::expected<std::map<std::string, std::int64_t>, Error> FarmStore::loads() {
  return state_->transact([&] {
    std::map<std::string, std::int64_t> loads;
    Statement select = state_->database.prepare(
        "SELECT name, (SELECT count(*) FROM jobs WHERE state IN ('queued', 'leased') AND target = name) FROM devices "
        "WHERE connected = 1");
    while (select.step()) loads[select.text(0)] = select.integer(1);
    return loads;
  });
}

std::int64_t FarmStore::data_version() {
  const std::scoped_lock lock(state_->mutex);
  try {
    Statement version = state_->database.prepare("PRAGMA data_version");
    version.step();
    return version.integer(0);
  } catch (const DatabaseFailure&) {
    return -1;  // the next real call says what is wrong
  }
}

std::expected<std::vector<QueuedJob>, Error> FarmStore::queued() {
  return state_->transact([&] {
    std::vector<QueuedJob> jobs;
    Statement select = state_->database.prepare(
        "SELECT key, target, priority, job FROM jobs WHERE state = 'queued' ORDER BY priority DESC, id");
    while (select.step()) {
      jobs.push_back({.key = select.text(0),
                      .target = select.text(1),
                      .priority = static_cast<int>(select.integer(2)),
                      .job = select.text(3)});
    }
    return jobs;
  });
}

std::expected<std::optional<QueuedJob>, Error> FarmStore::job(const std::string& key) {
  return state_->transact([&]() -> std::optional<QueuedJob> {
    Statement select = state_->database.prepare("SELECT key, target, priority, job FROM jobs WHERE key = ?");
    if (!select.bind(key).step()) return std::nullopt;
    return QueuedJob{.key = select.text(0),
                     .target = select.text(1),
                     .priority = static_cast<int>(select.integer(2)),
                     .job = select.text(3)};
  });
}

std::expected<std::optional<std::uint64_t>, Error> FarmStore::lease(const std::string& key, const std::string& worker) {
  return state_->transact([&]() -> std::optional<std::uint64_t> {
    Database& db = state_->database;
    db.execute("UPDATE fencing SET last = last + 1");
    db.prepare(
          "UPDATE jobs SET state = 'leased', worker = ?, token = (SELECT last FROM fencing), attempts = attempts + 1, "
          "progress = 0, message = '' WHERE key = ? AND state = 'queued'")
        .bind(worker, key)
        .run();
    if (db.changes() == 0) return std::nullopt;
    Statement token = db.prepare("SELECT last FROM fencing");
    token.step();
    return static_cast<std::uint64_t>(token.integer(0));
  });
}

std::expected<bool, Error> FarmStore::holds(const std::string& key, std::uint64_t token) {
  return state_->transact([&] {
    return state_->database.prepare("SELECT 1 FROM jobs WHERE key = ? AND token = ? AND state = 'leased'")
        .bind(key, token)
        .step();
  });
}

std::expected<void, Error> FarmStore::report_progress(const std::string& key, std::uint64_t token, double fraction,
                                                      const std::string& message) {
  return state_->transact([&] {
    state_->database
        .prepare("UPDATE jobs SET progress = ?, message = ? WHERE key = ? AND token = ? AND state = 'leased'")
        .bind(fraction, message, key, token)
        .run();
  });
}

std::expected<bool, Error> FarmStore::complete(const std::string& key, std::uint64_t token, const std::string& result,
                                               bool failed) {
  return state_->transact([&] {
    state_->database
        .prepare("UPDATE jobs SET state = ?, result = ?, progress = 1 WHERE key = ? AND token = ? AND state = 'leased'")
        .bind(failed ? "failed" : "done", result, key, token)
        .run();
    return state_->database.changes() == 1;
  });
}

std::expected<void, Error> FarmStore::release(const std::string& key, std::uint64_t token, const std::string& why,
                                              int max_attempts) {
  return state_->transact([&] {
    Database& db = state_->database;
    db.prepare(
          "UPDATE jobs SET state = 'queued', progress = 0, message = ? WHERE key = ? AND token = ? AND state = "
          "'leased' AND attempts < ?")
        .bind(why, key, token, max_attempts)
        .run();
    if (db.changes() == 1) return;
    db.prepare(
          "UPDATE jobs SET state = 'failed', message = '', result = ? WHERE key = ? AND token = ? AND state = 'leased'")
        .bind(failure_result(std::format("{} (given up after {} attempts)", why, max_attempts)), key, token)
        .run();
  });
}

std::expected<void, Error> FarmStore::requeue(const std::string& key, std::uint64_t token) {
  return state_->transact([&] {
    state_->database
        .prepare(
            "UPDATE jobs SET state = 'queued', progress = 0, message = '', attempts = attempts - 1 WHERE key = ? AND "
            "token = ? AND state = 'leased'")
        .bind(key, token)
        .run();
  });
}

std::expected<std::vector<JobStatus>, Error> FarmStore::leased() {
  return state_->transact([&] {
    std::vector<JobStatus> jobs;
    Statement select =
        state_->database.prepare(std::format("SELECT {} FROM jobs WHERE state = 'leased'", kStatusColumns));
    while (select.step()) jobs.push_back(status_row(select));
    return jobs;
  });
}

}  // namespace finch::controller
