#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>

#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/identity.hpp"
#include "protocol/tls_connection.hpp"
#include "protocol/worker.hpp"

namespace finch::protocol {
namespace {

constexpr std::chrono::seconds kAnswer{30};

using Answer = std::expected<Joined, Error>;

asio::awaitable<Answer> ask(Invitation invitation, std::string request) {
  const std::string address = std::format("{}:{}", invitation.host, invitation.port);
  const auto context = pinned_context(invitation.fingerprint);
  if (!context) co_return std::unexpected(context.error());
  const auto connected = co_await Connection::connect(invitation.host, invitation.port, *context);
  if (!connected) {
    co_return std::unexpected(
        Error{std::format("{}: {} (looked for the controller with the authority {}; is finch serve running there?)",
                          address, connected.error().message, invitation.fingerprint)});
  }
  const auto connection = *connected;
  ToController out;
  out.mutable_join()->set_token(invitation.token);
  out.mutable_join()->set_certificate_request_pem(std::move(request));
  connection->send(out);
  // Heartbeats keep the connection alive, but not for ever without an answer.
  asio::steady_timer deadline(co_await asio::this_coro::executor, kAnswer);
  deadline.async_wait([connection](boost::system::error_code error) {
    if (!error) connection->close();
  });
  Answer answer = std::unexpected(Error{});
  const std::string why = co_await connection->read_frames([&](std::string_view frame) {
    ToWorker message;
    if (const auto decoded = decode_frame_body(frame, message); !decoded) {
      answer = std::unexpected(Error{std::format("{}: {}", address, decoded.error().message)});
    } else if (message.has_joined()) {
      answer = message.joined();
    } else if (message.has_refused()) {
      answer = std::unexpected(Error{std::format("{}: {}", address, message.refused().reason())});
    } else {
      return;  // a heartbeat
    }
    connection->close();
  });
  deadline.cancel();
  if (!answer && answer.error().message.empty()) {
    co_return std::unexpected(Error{std::format("{}: no answer to the invitation: {}", address, why)});
  }
  co_return answer;
}

std::expected<void, Error> keep(const Joined& joined, const std::string& fingerprint,
                                const std::filesystem::path& key_folder, const std::filesystem::path& state_folder) {
  if (fingerprint_of(joined.authority_pem()) != fingerprint || !fingerprint_of(joined.certificate_pem())) {
    return std::unexpected(Error{"the controller answered with another authority than the invitation's"});
  }
  const auto key = read_whole_file(key_folder / "key.pem");
  if (!key) return std::unexpected(key.error());
  return write_durably(state_folder / "authority.pem", joined.authority_pem(), 0644)
      .and_then([&] { return write_durably(state_folder / "key.pem", *key, 0600); })
      .and_then([&] { return write_durably(state_folder / "cert.pem", joined.certificate_pem(), 0644); });
}

}  // namespace

std::expected<JoinedDevice, Error> join(const Invitation& invitation, const std::filesystem::path& state_folder) {
  // Beside the identity that may be there: a refused invitation must not cost a board its old one.
  const std::filesystem::path key_folder = state_folder / "joining";
  const auto request = make_certificate_request("joining", key_folder);
  if (!request) return std::unexpected(request.error());
  Answer joined = std::unexpected(Error{"the joining was interrupted"});
  try {
    asio::io_context io{1};
    asio::co_spawn(io, ask(invitation, *request), [&](std::exception_ptr failure, Answer answer) {
      if (failure) std::rethrow_exception(failure);
      joined = std::move(answer);
    });
    io.run();
  } catch (const std::exception& exception) {
    joined = std::unexpected(Error{std::format("joining broke off: {}", exception.what())});
  }
  std::expected<void, Error> kept;
  if (joined) kept = keep(*joined, invitation.fingerprint, key_folder, state_folder);
  std::error_code ignored;
  std::filesystem::remove_all(key_folder, ignored);
  if (!joined) return std::unexpected(joined.error());
  if (!kept) return std::unexpected(kept.error());
  return JoinedDevice{.name = joined->name(), .profile = joined->profile()};
}

}  // namespace finch::protocol
