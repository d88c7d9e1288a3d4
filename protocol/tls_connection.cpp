#include "protocol/tls_connection.hpp"

#include <google/protobuf/message_lite.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <format>
#include <limits>

#include "protocol/openssl_handles.hpp"

namespace finch::protocol {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// For the peer to read what was sent last, and to end its side.
constexpr std::chrono::seconds kLinger{2};

// The alerts by which the other end says that it does not accept our certificate.
bool is_refusal_of_certificate(int reason) {
  switch (reason) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      return true;
    default:
      return false;
  }
}

// OpenSSL's words for what matters to people.
std::string explain(const boost::system::error_code& error) {
  if (error.category() == asio::error::get_ssl_category()) {
    const int reason = ERR_GET_REASON(static_cast<unsigned long>(error.value()));
    if (is_refusal_of_certificate(reason)) {
      return "the other side does not accept this certificate: it belongs to another authority; join again with a new "
             "invitation";
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
      return "the other side's certificate belongs to another authority, or is not made for this end of the wire";
    }
  }
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) {
    return "the other side closed the connection";
  }
  return error.message();
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context,
                       std::chrono::milliseconds silence)
    : context_(std::move(context)),
      stream_(std::move(socket), *context_),
      silence_(silence),
      timer_(stream_.get_executor()),
      last_heard_(Clock::now()),
      last_written_(last_heard_) {
  boost::system::error_code ignored;
  stream_.lowest_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
}

asio::awaitable<std::expected<std::shared_ptr<Connection>, Error>> Connection::connect(
    std::string host, std::uint16_t port, std::shared_ptr<asio::ssl::context> context) {
  const auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver(executor);
  const auto [unresolved, endpoints] =
      co_await resolver.async_resolve(host, std::to_string(port), asio::ip::tcp::resolver::numeric_service, kAwait);
  if (unresolved) co_return std::unexpected(Error{"cannot find this host: " + unresolved.message()});
  // Shared with the timer, whose handler may run after this coroutine is done with the socket.
  const auto socket = std::make_shared<asio::ip::tcp::socket>(executor);
  const auto late = std::make_shared<bool>(false);
  asio::steady_timer deadline(executor, kHandshake);
  deadline.async_wait([socket, late](boost::system::error_code error) {
    if (error) return;
    *late = true;
    boost::system::error_code ignored;
    socket->close(ignored);
  });
  // async_connect opens the socket anew for every address, so that a close() alone would not end it.
  const auto in_time = [late](const boost::system::error_code&, const asio::ip::tcp::endpoint&) { return !*late; };
  const auto [refused, endpoint] = co_await asio::async_connect(*socket, endpoints, in_time, kAwait);
  deadline.cancel();
  if (*late) co_return std::unexpected(Error{"no controller there: no answer in time"});
  if (refused) co_return std::unexpected(Error{"no controller there: " + refused.message()});
  auto connection = std::make_shared<Connection>(std::move(*socket), std::move(context));
  if (auto shaken = co_await connection->handshake(false); !shaken) co_return std::unexpected(shaken.error());
  co_return connection;
}

asio::awaitable<std::expected<void, Error>> Connection::handshake(bool server) {
  const auto self = shared_from_this();
  server_ = server;
  timer_.expires_after(kHandshake);
  timer_.async_wait([self](boost::system::error_code error) {
    if (!error) self->shut(std::format("no TLS handshake within {} seconds", kHandshake.count()));
  });
  const auto type = server ? asio::ssl::stream_base::server : asio::ssl::stream_base::client;
  const auto [error] = co_await stream_.async_handshake(type, kAwait);
  if (!error) {
    const CertificatePtr certificate(SSL_get1_peer_certificate(stream_.native_handle()));
    if (certificate) peer_name_ = common_name(certificate.get());
  } else if (server && open_) {
    // The client holds its own handshake for done and may be sending: closing with its bytes unread would reset the
    // connection, and the alert that tells it why would be lost.
    boost::system::error_code ignored;
    stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    std::array<char, 1024> scrap;
    while (open_) {
      const auto [ended, size] = co_await stream_.next_layer().async_read_some(asio::buffer(scrap), kAwait);
      if (ended) break;
    }
  }
  timer_.cancel();
  if (!error && open_) co_return std::expected<void, Error>{};
  shut(explain(error));
  co_return std::unexpected(Error{why_});
}

std::string Connection::peer_address() const {
  boost::system::error_code error;
  const auto endpoint = stream_.lowest_layer().remote_endpoint(error);
  return error ? "an unknown address" : endpoint.address().to_string();
}

std::string Connection::tls_version() {
  return SSL_get_version(stream_.native_handle());
}

asio::awaitable<std::string> Connection::read_frames(std::function<void(std::string_view)> on_frame) {
  const auto self = shared_from_this();
  reading_ = true;
  last_heard_ = Clock::now();
  asio::co_spawn(stream_.get_executor(), [self] { return self->watch(); }, asio::detached);
  const std::size_t limit = server_ && peer_name_.empty() ? kMaxJoinFrameBytes : kMaxFrameBytes;
  std::string frame;
  while (open_) {
    std::array<char, kFrameHeaderBytes> header;
    if (!co_await read_exactly(header)) break;
    const auto size = decode_frame_header(std::as_bytes(std::span(header)), limit);
    if (!size) {
      shut(size.error().message);
      break;
    }
    frame.resize(*size);
    if (!co_await read_exactly(frame)) break;
    if (closing_) continue;  // read on only so that the peer can finish
    try {
      on_frame(frame);
    } catch (const std::exception& exception) {
      shut(std::format("a message could not be handled: {}", exception.what()));
    }
  }
  reading_ = false;
  co_return why_;
}

// False when the connection ended.
asio::awaitable<bool> Connection::read_exactly(std::span<char> bytes) {
  // Every piece counts as a sign of life, so that a slow link may take longer than `silence_` for a frame.
  const auto alive = [this](const boost::system::error_code& error, std::size_t) {
    last_heard_ = Clock::now();
    return error ? std::size_t{0} : std::numeric_limits<std::size_t>::max();
  };
  const auto [error, size] =
      co_await asio::async_read(stream_, asio::buffer(bytes.data(), bytes.size()), alive, kAwait);
  if (error) shut(explain(error));
  co_return !error;
}

void Connection::send(const google::protobuf::MessageLite& message) {
  asio::dispatch(stream_.get_executor(), [self = shared_from_this(), frame = encode_frame(message)]() mutable {
    self->queue(std::move(frame));
  });
}

void Connection::queue(std::expected<std::string, Error> frame) {
  if (!open_ || closing_ || write_ended_) return;
  if (!frame) return shut(frame.error().message);
  queue_.push_back(std::move(*frame));
  if (writing_) return;
  writing_ = true;
  asio::co_spawn(stream_.get_executor(), [self = shared_from_this()] { return self->write_queue(); }, asio::detached);
}

asio::awaitable<void> Connection::write_queue() {
  const auto self = shared_from_this();
  const auto alive = [this](const boost::system::error_code& error, std::size_t) {
    last_written_ = Clock::now();
    return error ? std::size_t{0} : std::numeric_limits<std::size_t>::max();
  };
  while (open_ && !queue_.empty()) {
    const std::string frame = std::move(queue_.front());
    queue_.pop_front();
    const auto [error, written] = co_await asio::async_write(stream_, asio::buffer(frame), alive, kAwait);
    // A peer that refused us has said why before it went: the reader finds that.
    if (error) end_writing(reading_ ? std::string() : explain(error));
  }
  writing_ = false;
  if (closing_) end_writing("closed");
}

// Ends the connection when the peer has been silent, or does not read, for too long.
asio::awaitable<void> Connection::watch() {
  const auto self = shared_from_this();
  while (open_) {
    timer_.expires_after(silence_ / 8);
    co_await timer_.async_wait(kAwait);
    const auto now = Clock::now();
    const auto seconds = std::chrono::duration<double>(silence_).count();
    if (now - last_heard_ > silence_) shut(std::format("nothing heard for {:g} seconds", seconds));
    if (writing_ && now - last_written_ > silence_) {
      shut(std::format("the other side does not read for {:g} seconds", seconds));
    }
    if (write_ended_ && now > close_by_) shut("the other side is gone");
  }
}

void Connection::close() {
  asio::dispatch(stream_.get_executor(), [self = shared_from_this()] {
    if (std::exchange(self->closing_, true)) return;
    if (!self->writing_) self->end_writing("closed");
  });
}

// A plain close() with the peer's bytes unread resets the connection, and what we sent last may be lost with it: send
// the end, and read on until the peer ends too.
void Connection::end_writing(const std::string& why) {
  if (!reading_) return shut(why);
  if (why_.empty()) why_ = why;
  write_ended_ = true;
  queue_.clear();
  close_by_ = Clock::now() + kLinger;
  boost::system::error_code ignored;
  stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

void Connection::shut(const std::string& why) {
  if (!open_) return;
  open_ = false;
  if (why_.empty()) why_ = why;
  boost::system::error_code ignored;
  stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  stream_.next_layer().close(ignored);
  timer_.cancel();
}

}  // namespace finch::protocol
