#include "protocol/outbox.hpp"

#include "protocol/artifact_store.hpp"
#include "protocol/durable_file.hpp"

namespace finch::protocol {
namespace fs = std::filesystem;

Outbox::Outbox(fs::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const auto bytes = read_whole_file(entry.path());
    ResultReport report;
    if (bytes && report.ParseFromString(*bytes) && file_of(report.lease().job_key()) == entry.path()) {
      reports_[report.lease().job_key()] = std::move(report);
    } else {
      fs::remove(entry.path(), error);
    }
  }
}

// A key is whatever the controller likes; a file name is not.
fs::path Outbox::file_of(const std::string& job_key) const {
  return folder_ / sha256_hex(job_key);
}

void Outbox::put(const ResultReport& report) {
  reports_[report.lease().job_key()] = report;
}

bool Outbox::remove(const LeaseRef& lease) {
  const auto found = reports_.find(lease.job_key());
  if (found == reports_.end() || found->second.lease().token() > lease.token()) return false;
  reports_.erase(found);
  return true;
}

bool Outbox::renew(const LeaseRef& lease) {
  const auto found = reports_.find(lease.job_key());
  if (found == reports_.end()) return false;
  *found->second.mutable_lease() = lease;
  return true;
}

Outbox::Change Outbox::change_of(const std::string& job_key) const {
  const auto found = reports_.find(job_key);
  return {file_of(job_key), found == reports_.end() ? std::string() : found->second.SerializeAsString()};
}

std::expected<void, Error> Outbox::save(const Change& change) {
  if (!change.text.empty()) return write_durably(change.file, change.text, 0600);
  std::error_code ignored;
  fs::remove(change.file, ignored);
  return {};
}

}  // namespace finch::protocol
