#include "controller/campaign/watch_store.hpp"

#include <format>
#include <utility>

namespace finch::controller {
namespace {

constexpr int kVersion = 1;
// An id is never used again: a save of what was replaced meanwhile finds nothing.
constexpr const char* kSchema = R"(
CREATE TABLE watched (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, device TEXT NOT NULL, job BLOB NOT NULL,
  baseline BLOB NOT NULL DEFAULT '', checks INTEGER NOT NULL DEFAULT 0, checked INTEGER NOT NULL DEFAULT 0,
  alarm TEXT NOT NULL DEFAULT '', finding TEXT NOT NULL DEFAULT '', UNIQUE (name, device));
)";

}  // namespace

std::expected<WatchStore, Error> WatchStore::open(const std::filesystem::path& file) {
  return Database::open(file, kVersion, kSchema).transform([](Database&& database) {
    return WatchStore(std::move(database));
  });
}

std::expected<void, Error> WatchStore::add(const WatchedModel& model) {
  return database_.transact([&] {
    database_.prepare("DELETE FROM watched WHERE name = ? AND device = ?").bind(model.name, model.device).run();
    database_.prepare("INSERT INTO watched (name, device, job) VALUES (?, ?, ?)")
        .bind(model.name, model.device, model.job.SerializeAsString())
        .run();
  });
}

std::expected<std::vector<WatchedModel>, Error> WatchStore::all() {
  return database_.transact([&] {
    std::vector<WatchedModel> models;
    Statement select = database_.prepare(
        "SELECT id, name, device, job, baseline, checks, checked, alarm, finding FROM watched ORDER BY id");
    while (select.step()) {
      WatchedModel model{.id = select.integer(0),
                         .name = select.text(1),
                         .device = select.text(2),
                         .job = {},
                         .baseline = {},
                         .checks = select.integer(5),
                         .checked = select.integer(6),
                         .alarm = select.text(7),
                         .finding = select.text(8)};
      model.job.ParseFromString(select.text(3));
      if (const std::string baseline = select.text(4); !baseline.empty())
        model.baseline.emplace().ParseFromString(baseline);
      models.push_back(std::move(model));
    }
    return models;
  });
}

std::expected<void, Error> WatchStore::remove(const std::string& name, const std::string& device) {
  return database_.transact([&] {
    database_.prepare("DELETE FROM watched WHERE name = ? AND (? = '' OR device = ?)").bind(name, device, device).run();
    if (database_.changes() == 0) {
      throw DatabaseFailure{Error{
          std::format("'{}' is not watched{}; see: finch watch list", name, device.empty() ? "" : " on " + device),
          ExitCode::usage}};
    }
  });
}

std::expected<void, Error> WatchStore::save(const WatchedModel& model) {
  return database_.transact([&] {
    database_.prepare("UPDATE watched SET baseline = ?, checks = ?, checked = ?, alarm = ?, finding = ? WHERE id = ?")
        .bind(model.baseline ? model.baseline->SerializeAsString() : std::string(), model.checks, model.checked,
              model.alarm, model.finding, model.id)
        .run();
  });
}

}  // namespace finch::controller
