// One TLS 1.3 connection that carries length-prefixed messages: the seam between the two ends of the wire, used by
// protocol/ and controller/farm/ alone (hence Asio in this header). A connection lives on one executor (a strand or a
// one-thread io_context); send() and close() may be called from any thread, all else there.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "protocol/error.hpp"
#include "protocol/framing.hpp"
#include "protocol/identity.hpp"

namespace google::protobuf {
class MessageLite;
}

namespace finch::protocol {

namespace asio = boost::asio;

inline constexpr unsigned kProtocolVersion = 2;
inline constexpr std::chrono::seconds kHeartbeat{2};
// Not one byte heard, or not one taken, for so long: the other side is gone.
inline constexpr std::chrono::seconds kSilence{8};
inline constexpr std::chrono::seconds kHandshake{10};
// Of a peer without a certificate: a Join is small, and strangers get no more memory than that.
inline constexpr std::size_t kMaxJoinFrameBytes = std::size_t{64} << 10;

// cert.pem, key.pem, authority.pem of `identity`. The server shows its authority too (Join pins it) and accepts
// connections without a certificate (for Join alone). Errors: a file is missing or damaged, or it is not the
// controller's identity.
std::expected<std::shared_ptr<asio::ssl::context>, Error> server_context(const std::filesystem::path& identity);
// Trusts exactly authority.pem, and only a certificate made for the controller. Host names are not compared: boards
// reach the controller under changing addresses.
std::expected<std::shared_ptr<asio::ssl::context>, Error> client_context(const std::filesystem::path& identity);
// For Join: trusts no certificate store; the chain the server shows must hold the authority with this fingerprint.
std::expected<std::shared_ptr<asio::ssl::context>, Error> pinned_context(const std::string& fingerprint);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context,
             std::chrono::milliseconds silence = kSilence);

  // Name lookup, TCP and TLS handshake, on the calling coroutine's executor. Error: why not, without the address.
  static asio::awaitable<std::expected<std::shared_ptr<Connection>, Error>> connect(
      std::string host, std::uint16_t port, std::shared_ptr<asio::ssl::context> context);

  // Error: who is refused and why, for people. The connection is closed then.
  asio::awaitable<std::expected<void, Error>> handshake(bool server);
  // Common name of the peer's verified certificate; empty without one.
  const std::string& peer_name() const { return peer_name_; }
  std::string peer_address() const;
  std::string tls_version();

  // Hands every frame to `on_frame` until the connection ends; returns why. Closes after `silence` without a byte, and
  // when `on_frame` throws.
  asio::awaitable<std::string> read_frames(std::function<void(std::string_view)> on_frame);
  // Queues a message; never blocks. Nothing happens after close(). A message beyond kMaxFrameBytes ends the connection.
  void send(const google::protobuf::MessageLite& message);
  // Ends the connection once all that was queued has been written and the peer has had a moment to read it.
  void close();

 private:
  void queue(std::expected<std::string, Error> frame);
  asio::awaitable<void> write_queue();
  asio::awaitable<void> watch();
  asio::awaitable<bool> read_exactly(std::span<char> bytes);
  void end_writing(const std::string& why);
  void shut(const std::string& why);

  std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  const std::chrono::milliseconds silence_;
  asio::steady_timer timer_;
  std::deque<std::string> queue_;
  bool server_ = false, reading_ = false, writing_ = false, write_ended_ = false, closing_ = false, open_ = true;
  std::chrono::steady_clock::time_point last_heard_, last_written_, close_by_;
  std::string peer_name_, why_;
};

}  // namespace finch::protocol
