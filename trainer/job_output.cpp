#include "trainer/job_output.hpp"

#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>

#include "protocol/artifact_store.hpp"

namespace finch::trainer {
namespace {

constexpr std::chrono::milliseconds kPeriod{500};

}  // namespace

JobOutput::JobOutput(std::filesystem::path folder, std::function<void(const protocol::ChildEvent&)> emit)
    : folder_(std::move(folder)), emit_(std::move(emit)) {}

void JobOutput::progress(double fraction, const std::string& message) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kPeriod;
  protocol::ChildEvent event;
  event.mutable_progress()->set_fraction(fraction);
  event.mutable_progress()->set_message(message);
  emit_(event);
}

std::function<void(double)> JobOutput::part(double begin, double end, std::string message) {
  return [this, begin, end, message = std::move(message)](double fraction) {
    progress(begin + fraction * (end - begin), message);
  };
}

std::expected<protocol::ArtifactRef, Error> JobOutput::write(std::string_view bytes) {
  protocol::ArtifactRef reference;
  reference.set_sha256(protocol::sha256_hex(bytes));
  reference.set_size_bytes(std::ssize(bytes));
  const std::filesystem::path path = folder_ / reference.sha256();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), std::ssize(bytes));
  file.close();
  if (!file) {
    return std::unexpected(
        Error{std::format("{}: {} bytes cannot be written ({})", path.string(), bytes.size(), std::strerror(errno))});
  }
  return reference;
}

}  // namespace finch::trainer
