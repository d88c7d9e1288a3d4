#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <fstream>

#include "protocol/farm.pb.h"
#include "protocol/identity.hpp"
#include "protocol/tls_connection.hpp"
#include "protocol/worker.hpp"

namespace finch::protocol {
namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

asio::awaitable<std::expected<Joined, Error>> ask(asio::io_context& io, const Invitation& invitation,
                                                  std::string request) {
  const std::string address = std::format("{}:{}", invitation.host, invitation.port);
  const auto context = pinned_context(invitation.fingerprint);
  asio::ip::tcp::resolver resolver(io);
  const auto [unresolved, endpoints] =
      co_await resolver.async_resolve(invitation.host, std::to_string(invitation.port), kAwait);
  if (unresolved) co_return std::unexpected(Error{address + ": cannot find this host: " + unresolved.message()});
  asio::ip::tcp::socket socket(io);
  asio::steady_timer deadline(io, kHandshake);
  deadline.async_wait([&socket](boost::system::error_code error) {
    if (!error) socket.close();
  });
  const auto [refused, endpoint] = co_await asio::async_connect(socket, endpoints, kAwait);
  deadline.cancel();
  if (refused)
    co_return std::unexpected(
        Error{address + ": no controller there: " + refused.message() + "; is finch serve running?"});
  const auto connection = std::make_shared<Connection>(std::move(socket), *context);
  if (const auto shaken = co_await connection->handshake(false); !shaken) {
    co_return std::unexpected(
        Error{std::format("{}: this is not the controller that invited (another authority than {}): {}", address,
                          invitation.fingerprint, shaken.error().message)});
  }
  ToController out;
  out.mutable_join()->set_token(invitation.token);
  out.mutable_join()->set_certificate_request_pem(std::move(request));
  connection->send(out);
  std::expected<Joined, Error> answer = std::unexpected(Error{});
  const std::string why = co_await connection->read_frames([&](std::string_view frame) {
    ToWorker message;
    message.ParseFromArray(frame.data(), static_cast<int>(frame.size()));
    if (message.has_joined()) answer = message.joined();
    if (message.has_refused()) answer = std::unexpected(Error{address + ": " + message.refused().reason()});
    connection->close();
  });
  if (!answer && answer.error().message.empty()) co_return std::unexpected(Error{address + ": " + why});
  co_return answer;
}

}  // namespace

std::expected<JoinedDevice, Error> join(const Invitation& invitation, const std::filesystem::path& state_folder) {
  const auto request = make_certificate_request("joining", state_folder);
  if (!request) return std::unexpected(request.error());
  asio::io_context io{1};
  std::expected<Joined, Error> joined = std::unexpected(Error{"interrupted"});
  asio::co_spawn(io, ask(io, invitation, *request),
                 [&](std::exception_ptr, std::expected<Joined, Error> answer) { joined = std::move(answer); });
  io.run();
  if (!joined) return std::unexpected(joined.error());
  if (fingerprint_of(joined->authority_pem()) != invitation.fingerprint) {
    return std::unexpected(Error{"the controller answered with another authority than the invitation's"});
  }
  std::ofstream(state_folder / "authority.pem") << joined->authority_pem();
  std::ofstream certificate(state_folder / "cert.pem");
  certificate << joined->certificate_pem();
  if (!certificate.flush()) return std::unexpected(Error{(state_folder / "cert.pem").string() + ": cannot write"});
  return JoinedDevice{.name = joined->name(), .profile = joined->profile()};
}

}  // namespace finch::protocol
