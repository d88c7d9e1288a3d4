#include "controller/campaign/event_store.hpp"

#include <chrono>
#include <format>

namespace finch::controller {
namespace {

constexpr int kVersion = 1;
constexpr const char* kSchema =
    "CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, seconds REAL NOT NULL, utc "
    "TEXT NOT NULL, data TEXT NOT NULL);";

std::string utc_now() {
  return std::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
}

}  // namespace

std::expected<EventStore, Error> EventStore::open(const std::filesystem::path& file) {
  return Database::open(file, kVersion, kSchema).transform([](Database&& database) {
    return EventStore(std::move(database));
  });
}

std::expected<Event, Error> EventStore::append(const std::string& type, double seconds, nlohmann::json data) {
  Event event{.sequence = 0, .type = type, .seconds = seconds, .utc = utc_now(), .data = std::move(data)};
  const std::string text = event.data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return database_.transact([&] {
    database_.prepare("INSERT INTO events (type, seconds, utc, data) VALUES (?, ?, ?, ?)")
        .bind(type, seconds, event.utc, text)
        .run();
    event.sequence = database_.last_id();
    return event;
  });
}

std::expected<std::vector<Event>, Error> EventStore::load() {
  return database_.transact([&] {
    std::vector<Event> events;
    Statement select = database_.prepare("SELECT sequence, type, seconds, utc, data FROM events ORDER BY sequence");
    while (select.step()) {
      Event event{.sequence = select.integer(0),
                  .type = select.text(1),
                  .seconds = select.real(2),
                  .utc = select.text(3),
                  .data = {}};
      event.data = nlohmann::json::parse(select.text(4), nullptr, false);
      if (event.data.is_discarded())
        throw DatabaseFailure{
            Error{std::format("event {} ({}) of this campaign is damaged", event.sequence, event.type)}};
      if (event.sequence != static_cast<std::int64_t>(events.size()) + 1) {
        throw DatabaseFailure{Error{
            std::format("event {} of this campaign is missing; restore campaign.db from a backup", events.size() + 1)}};
      }
      events.push_back(std::move(event));
    }
    return events;
  });
}

}  // namespace finch::controller
