#include <algorithm>
#include <format>
#include <string_view>

#include "controller/farm/farm_store_state.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/farm.pb.h"
#include "protocol/random_hex.hpp"

namespace finch::controller {
namespace {

constexpr std::string_view kReservedNames[] = {"controller", "local", "local-trainer"};

bool is_device_name(std::string_view name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= 63 && name.find_first_not_of(kAllowed) == std::string_view::npos;
}

}  // namespace

std::expected<void, Error> FarmStore::admit(const std::string& name) {
  return state_->transact([&] {
    state_->database.prepare("INSERT OR IGNORE INTO devices (name, profile, admitted) VALUES (?, '', 1)")
        .bind(name)
        .run();
  });
}

std::expected<void, Error> FarmStore::device_seen(const protocol::DeviceDescription& description, bool connected) {
  return state_->transact([&] {
    state_->database
        .prepare(
            "UPDATE devices SET profile = ?, description = ?, connected = ?, last_seen = "
            "strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE name = ?")
        .bind(description.profile(), description.SerializeAsString(), connected ? 1 : 0, description.name())
        .run();
  });
}

std::expected<void, Error> FarmStore::disconnect_all() {
  return state_->transact([&] { state_->database.execute("UPDATE devices SET connected = 0"); });
}

std::expected<std::vector<DeviceRecord>, Error> FarmStore::devices() {
  return state_->transact([&] {
    std::vector<DeviceRecord> devices;
    Statement select =
        state_->database.prepare("SELECT name, profile, description, connected, last_seen FROM devices ORDER BY name");
    while (select.step())
      devices.push_back({select.text(0), select.text(1), select.text(2), select.integer(3) != 0, select.text(4)});
    return devices;
  });
}

std::expected<std::set<std::string>, Error> FarmStore::admitted() {
  return state_->transact([&] {
    std::set<std::string> names;
    Statement select = state_->database.prepare("SELECT name FROM devices WHERE admitted = 1");
    while (select.step()) names.insert(select.text(0));
    return names;
  });
}

std::expected<std::string, Error> FarmStore::invite(const std::string& name, const std::string& profile, int hours) {
  if (!is_device_name(name)) {
    return std::unexpected(Error{
        std::format("'{}' cannot name a device: use 1 to 63 letters, digits, '.', '_' or '-'", name), ExitCode::usage});
  }
  if (std::ranges::contains(kReservedNames, name)) {
    return std::unexpected(Error{
        std::format("'{}' is a name of this machine's own; choose another for the device", name), ExitCode::usage});
  }
  const std::string token = protocol::random_hex(24);
  const auto invited = state_->transact([&] {
    Database& db = state_->database;
    if (db.prepare("SELECT 1 FROM devices WHERE name = ? AND description != ''").bind(name).step()) {
      throw DatabaseFailure{Error{std::format("a device named '{}' has joined already; choose another name, or remove "
                                              "it first: finch devices remove {}",
                                              name, name),
                                  ExitCode::usage}};
    }
    db.prepare("DELETE FROM invitations WHERE name = ? OR expires <= unixepoch('now')").bind(name).run();
    db.prepare("INSERT INTO invitations VALUES (?, ?, ?, unixepoch('now') + ?)")
        .bind(protocol::sha256_hex(token), name, profile, hours * 3600)
        .run();
    db.prepare("INSERT OR REPLACE INTO devices (name, profile) VALUES (?, ?)").bind(name, profile).run();
  });
  if (!invited) return std::unexpected(invited.error());
  return token;
}

std::expected<std::optional<DeviceRecord>, Error> FarmStore::redeem(const std::string& token) {
  return state_->transact([&]() -> std::optional<DeviceRecord> {
    Database& db = state_->database;
    Statement select = db.prepare(
        "DELETE FROM invitations WHERE token_hash = ? AND expires > unixepoch('now') RETURNING name, profile");
    if (!select.bind(protocol::sha256_hex(token)).step()) return std::nullopt;
    DeviceRecord record;
    record.name = select.text(0);
    record.profile = select.text(1);
    select.step();
    db.prepare("UPDATE devices SET admitted = 1 WHERE name = ?").bind(record.name).run();
    return record;
  });
}

std::expected<void, Error> FarmStore::forget_device(const std::string& name) {
  return state_->transact([&] {
    Database& db = state_->database;
    db.prepare("DELETE FROM invitations WHERE name = ?").bind(name).run();
    db.prepare("DELETE FROM devices WHERE name = ?").bind(name).run();
    if (db.changes() == 0)
      throw DatabaseFailure{Error{"there is no device named '" + name + "'; see: finch devices", ExitCode::usage}};
  });
}

}  // namespace finch::controller
