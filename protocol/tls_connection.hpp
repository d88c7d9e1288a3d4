// One TLS 1.3 connection that carries length-prefixed messages: the seam between the two ends of the wire, used by
// protocol/ and controller/farm/ alone (hence Asio in this header). A connection lives on one executor; send() and
// close() may be called from any thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "protocol/error.hpp"

namespace google::protobuf {
class MessageLite;
}

namespace finch::protocol {

namespace asio = boost::asio;

inline constexpr std::size_t kMaximumFrameBytes = 4 << 20;
inline constexpr std::size_t kChunkBytes = 1 << 20;
inline constexpr unsigned kProtocolVersion = 1;
inline constexpr std::chrono::seconds kHeartbeat{2};
// Nothing heard for so long: the other side is gone.
inline constexpr std::chrono::seconds kSilence{8};
inline constexpr std::chrono::seconds kHandshake{10};
inline constexpr const char* kControllerName = "controller";  // common name of the controller's certificate

// cert.pem, key.pem, authority.pem of `identity`. A server accepts connections without a certificate (for Join alone).
std::expected<std::shared_ptr<asio::ssl::context>, Error> server_context(const std::filesystem::path& identity);
std::expected<std::shared_ptr<asio::ssl::context>, Error> client_context(const std::filesystem::path& identity);
// For Join: trusts no certificate store; the chain the server shows must hold the authority with this fingerprint.
std::expected<std::shared_ptr<asio::ssl::context>, Error> pinned_context(const std::string& fingerprint);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context);

  // Error: who is refused and why, for people.
  asio::awaitable<std::expected<void, Error>> handshake(bool server);
  // Common name of the peer's verified certificate; empty without one.
  std::string peer_name();
  std::string peer_address() const;
  // The chain's last certificate, PEM: the authority, as the server of a Join shows it.
  std::string peer_authority_pem();

  // Hands every frame to `on_frame` until the connection ends; returns why. Closes after `kSilence` without a frame.
  asio::awaitable<std::string> read_frames(std::function<void(std::string_view)> on_frame);
  // Queues a message; never blocks.
  void send(const google::protobuf::MessageLite& message);
  // Ends the connection once all that was queued has been written (or after a moment).
  void close();

 private:
  asio::awaitable<void> write_queue();
  asio::awaitable<void> watch();
  void shut(const std::string& why);

  std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  asio::steady_timer timer_;
  std::deque<std::string> queue_;
  bool writing_ = false, closing_ = false, open_ = true;
  std::chrono::steady_clock::time_point last_heard_, write_began_;
  std::string why_;
};

}  // namespace finch::protocol
