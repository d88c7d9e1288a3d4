#include <sys/random.h>

#include <algorithm>
#include <array>
#include <format>
#include <span>

#include "controller/farm/farm_store_state.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {
namespace {

constexpr std::string_view kDeviceColumns = "name, profile, description, connected, last_seen";

DeviceRecord read_device(const Rows& row) {
  return {.name = row.text(0),
          .profile = row.text(1),
          .description = row.text(2),
          .connected = row.integer(3) != 0,
          .last_seen = row.text(4)};
}

std::expected<std::optional<DeviceRecord>, Error> find_record(Database& database, const std::string& name) {
  static const std::string kSql = std::format("SELECT {} FROM device WHERE name = ?", kDeviceColumns);
  auto rows = database.query(kSql, {name});
  if (!rows) return std::unexpected(rows.error());
  auto row = rows->next();
  if (!row) return std::unexpected(row.error());
  if (!*row) return std::nullopt;
  return read_device(*rows);
}

std::expected<std::string, Error> random_token() {
  std::array<unsigned char, 24> bytes{};
  if (::getentropy(bytes.data(), bytes.size()) != 0) {
    return std::unexpected(Error{"the system gives no random numbers for a token (getentropy failed)"});
  }
  std::string token;
  for (const unsigned char byte : bytes) token += std::format("{:02x}", byte);
  return token;
}

bool is_device_name(std::string_view name) {
  return !name.empty() && name.size() <= 63 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

bool is_reserved(std::string_view name) {
  return name == "controller" || name == "local" || name == "local-trainer";
}

}  // namespace

std::expected<void, Error> FarmStore::device_seen(const protocol::DeviceDescription& description, bool connected) {
  const std::lock_guard lock(state_->mutex);
  const std::string bytes = description.SerializeAsString();
  return state_->database
      .run(
          "INSERT INTO device VALUES (?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), 1) ON CONFLICT (name) DO "
          "UPDATE SET profile = excluded.profile, description = excluded.description, connected = excluded.connected, "
          "last_seen = excluded.last_seen",
          {description.name(), description.profile(), Blob{bytes}, connected})
      .transform([](std::int64_t) {});
}

std::expected<void, Error> FarmStore::disconnect_all() {
  const std::lock_guard lock(state_->mutex);
  return state_->database.run("UPDATE device SET connected = 0 WHERE connected = 1").transform([](std::int64_t) {});
}

std::expected<std::vector<DeviceRecord>, Error> FarmStore::devices() {
  const std::lock_guard lock(state_->mutex);
  static const std::string kSql = std::format("SELECT {} FROM device ORDER BY name", kDeviceColumns);
  auto rows = state_->database.query(kSql);
  if (!rows) return std::unexpected(rows.error());
  std::vector<DeviceRecord> devices;
  while (true) {
    auto row = rows->next();
    if (!row) return std::unexpected(row.error());
    if (!*row) return devices;
    devices.push_back(read_device(*rows));
  }
}

std::expected<std::optional<DeviceRecord>, Error> FarmStore::find_device(const std::string& name) {
  const std::lock_guard lock(state_->mutex);
  return find_record(state_->database, name);
}

std::expected<std::set<std::string>, Error> FarmStore::admitted() {
  const std::lock_guard lock(state_->mutex);
  auto rows = state_->database.query("SELECT name FROM device WHERE admitted = 1");
  if (!rows) return std::unexpected(rows.error());
  std::set<std::string> names;
  while (true) {
    auto row = rows->next();
    if (!row) return std::unexpected(row.error());
    if (!*row) return names;
    names.insert(rows->text(0));
  }
}

std::expected<std::string, Error> FarmStore::invite(const std::string& name, const std::string& profile, int hours) {
  if (!is_device_name(name)) {
    return std::unexpected(Error{
        std::format("'{}' cannot name a device: use 1 to 63 letters, digits, '.', '_' or '-'", name), ExitCode::usage});
  }
  if (is_reserved(name)) {
    return std::unexpected(Error{
        std::format("'{}' is reserved for this machine; choose another name for the device", name), ExitCode::usage});
  }
  auto token = random_token();
  if (!token) return token;
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  return database.transact([&]() -> std::expected<std::string, Error> {
    auto known = find_record(database, name);
    if (!known) return std::unexpected(known.error());
    if (*known && !(*known)->last_seen.empty()) {
      return std::unexpected(
          Error{std::format(
                    "a device named {} has joined already; choose another name, or run `finch devices forget {}` first",
                    name, name),
                ExitCode::usage});
    }
    auto device = database.run(
        "INSERT INTO device (name, profile) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET profile = excluded.profile, "
        "admitted = 0",
        {name, profile});
    if (!device) return std::unexpected(device.error());
    auto invited = database.run(
        "INSERT OR REPLACE INTO invitation VALUES (?, ?, CAST(strftime('%s', 'now') AS INTEGER) + ? * 3600)",
        {protocol::sha256_hex(std::string_view(*token)), name, hours});
    if (!invited) return std::unexpected(invited.error());
    return *token;
  });
}

std::expected<std::optional<DeviceRecord>, Error> FarmStore::redeem(const std::string& token) {
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  return database.transact([&]() -> std::expected<std::optional<DeviceRecord>, Error> {
    if (auto done = database.run("DELETE FROM invitation WHERE expires <= CAST(strftime('%s', 'now') AS INTEGER)");
        !done) {
      return std::unexpected(done.error());
    }
    std::string name;
    {
      auto rows = database.query("DELETE FROM invitation WHERE token_hash = ? RETURNING name",
                                 {protocol::sha256_hex(std::string_view(token))});
      if (!rows) return std::unexpected(rows.error());
      auto row = rows->next();
      if (!row) return std::unexpected(row.error());
      if (!*row) return std::nullopt;
      name = rows->text(0);
      if (auto end = rows->next(); !end) return std::unexpected(end.error());
    }
    if (auto done = database.run("UPDATE device SET admitted = 1 WHERE name = ?", {name}); !done) {
      return std::unexpected(done.error());
    }
    return find_record(database, name);
  });
}

std::expected<void, Error> FarmStore::forget_device(const std::string& name) {
  const std::lock_guard lock(state_->mutex);
  Database& database = state_->database;
  return database.transact([&]() -> std::expected<void, Error> {
    if (auto done = database.run("DELETE FROM invitation WHERE name = ?", {name}); !done) {
      return std::unexpected(done.error());
    }
    auto forgotten = database.run("DELETE FROM device WHERE name = ?", {name});
    if (!forgotten) return std::unexpected(forgotten.error());
    if (*forgotten == 0) {
      return std::unexpected(
          Error{std::format("no device is named {}; `finch devices` lists them", name), ExitCode::usage});
    }
    return {};
  });
}

}  // namespace finch::controller
