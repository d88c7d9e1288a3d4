// One mutually authenticated TLS 1.3 connection that carries Protobuf messages; both ends of the wire build on it.
// This header exposes Asio on purpose: it is the internal seam between worker and farm, included by sources only.
//
// Not thread safe: all calls of one connection run on its socket's executor (a strand, or a one-thread io_context).
// There, one coroutine may read while any number write: frames leave whole, in the order of the calls.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>

#include "protocol/error.hpp"
#include "protocol/framing.hpp"

namespace google::protobuf {
class MessageLite;
}  // namespace google::protobuf

namespace finch::protocol {

inline constexpr std::uint32_t kProtocolVersion = 1;  // of Hello; raised when an older peer would misunderstand

struct WireError {
  enum class Kind {
    closed,       // not reachable, or the peer went away
    timeout,      // the deadline passed; the connection is closed
    certificate,  // one end does not accept the other's certificate
    invalid,      // the peer broke the protocol: oversized frame, or bytes that are no message
  };
  Kind kind = Kind::closed;
  std::string message;  // one line, for people
};

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;

// From cert.pem, key.pem and authority.pem. The server sends its authority's certificate too (Join pins it), checks a
// client's certificate if there is one, and lets clients without one in: only Join may be answered to those.
// Errors: a file is missing, damaged, or no identity of the controller.
std::expected<TlsContext, Error> make_server_context(const std::filesystem::path& identity_folder);
// Trusts exactly authority.pem. Host names are not compared: boards find the controller by changing addresses; what
// counts is that the authority made this certificate for a controller.
std::expected<TlsContext, Error> make_client_context(const std::filesystem::path& identity_folder);
// For join(): no certificate of its own, and any server is accepted here; verify_pinned_authority() comes next.
std::expected<TlsContext, Error> make_join_context();

class TlsConnection : public std::enable_shared_from_this<TlsConnection> {
 public:
  using Duration = std::chrono::steady_clock::duration;
  template <class T>
  using Awaitable = boost::asio::awaitable<std::expected<T, WireError>>;

  // Name lookup, TCP and TLS handshake within `timeout`, on the calling coroutine's executor.
  static Awaitable<std::shared_ptr<TlsConnection>> connect(TlsContext context, std::string host, std::uint16_t port,
                                                           Duration timeout);
  // TLS handshake on an accepted socket. REQUIRES: the calling coroutine runs on the socket's executor.
  static Awaitable<std::shared_ptr<TlsConnection>> accept(TlsContext context, boost::asio::ip::tcp::socket socket,
                                                          Duration timeout);

  // Common name in the peer's verified certificate; empty: it showed none (or it is a join context's server).
  const std::string& peer_name() const { return peer_name_; }
  const std::string& peer_address() const { return peer_address_; }  // "192.0.2.7:45678"
  std::string tls_version() { return SSL_get_version(stream_.native_handle()); }

  // The next message. A peer without a certificate may send at most kMaxJoinFrameBytes. An error leaves the connection
  // closed. `timeout` spans the whole wait: give it the time after which a silent peer counts as lost.
  Awaitable<void> read(google::protobuf::MessageLite& message, Duration timeout);
  // Serialized at once, so `message` need not outlive the call. An error leaves the connection closed. `timeout` starts
  // when the frame's turn has come.
  Awaitable<void> write(const google::protobuf::MessageLite& message, Duration timeout);

  // Ends the conversation so that what was written still arrives (a plain close() may drop it): sends the end, then
  // waits for the peer's, at most `timeout`.
  boost::asio::awaitable<void> finish(Duration timeout);
  // At once; pending reads and writes end with an error. May be called any number of times.
  void close();
  bool is_open() const { return !closed_; }

  // After connect() with a join context. The certificate (PEM) of the authority with this fingerprint, when the server
  // sent it and it certifies the server. Nothing secret may be sent before.
  std::expected<std::string, Error> verify_pinned_authority(const std::string& fingerprint);

  TlsConnection(TlsContext context, boost::asio::ip::tcp::socket socket, bool is_server);  // use connect or accept
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;
  ~TlsConnection();

  static constexpr std::size_t kMaxJoinFrameBytes = std::size_t{64} << 10;

 private:
  class Deadline;
  class WriteTurn;
  Awaitable<void> handshake();
  Awaitable<void> write_frame(std::shared_ptr<TlsConnection> self, std::expected<std::string, Error> frame,
                              Duration timeout);
  WireError failure(boost::system::error_code error, bool timed_out) const;

  TlsContext context_;
  boost::asio::ssl::stream<boost::asio::ip::tcp::socket> stream_;
  const bool is_server_;
  bool closed_ = false;
  std::string peer_name_, peer_address_;
  std::uint64_t next_turn_ = 0, current_turn_ = 0;
  boost::asio::steady_timer turn_changed_;
};

}  // namespace finch::protocol
