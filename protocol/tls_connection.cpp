#include "protocol/tls_connection.hpp"

#include <google/protobuf/message_lite.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <format>
#include <limits>

#include "protocol/openssl_handles.hpp"

namespace finch::protocol {
namespace asio = boost::asio;
namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

std::string address_of(const asio::ip::tcp::socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return "an unknown address";
  const std::string address = endpoint.address().to_string();
  return std::format("{}{}{}:{}", endpoint.address().is_v6() ? "[" : "", address, endpoint.address().is_v6() ? "]" : "",
                     endpoint.port());
}

// What our own check says, and the alerts by which the other end tells that it does not accept our certificate.
bool concerns_certificate(boost::system::error_code error) {
  if (error.category() != asio::error::get_ssl_category()) return false;
  switch (ERR_GET_REASON(static_cast<unsigned long>(error.value()))) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
      return true;
    default:
      return false;
  }
}

bool own_check_failed(boost::system::error_code error) {
  return error.category() == asio::error::get_ssl_category() &&
         ERR_GET_REASON(static_cast<unsigned long>(error.value())) == SSL_R_CERTIFICATE_VERIFY_FAILED;
}

}  // namespace

// Closes the connection when the time is over, unless it is destroyed before.
class TlsConnection::Deadline {
 public:
  Deadline(TlsConnection& connection, Duration timeout)
      : timer_(connection.stream_.get_executor(), timeout), state_(std::make_shared<State>()) {
    timer_.async_wait([state = state_, weak = connection.weak_from_this()](boost::system::error_code error) {
      if (error || state->over) return;
      const auto self = weak.lock();
      if (!self) return;
      state->expired = true;
      self->close();
    });
  }
  ~Deadline() { state_->over = true; }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  bool expired() const { return state_->expired; }

 private:
  struct State {
    bool over = false;
    bool expired = false;
  };
  asio::steady_timer timer_;
  std::shared_ptr<State> state_;
};

// A place in the queue of writers. One that is given up before it was reached would stop all behind it, and half a
// frame is worth nothing to the peer, so the connection ends then.
class TlsConnection::WriteTurn {
 public:
  explicit WriteTurn(TlsConnection& connection) : connection_(connection), turn_(connection.next_turn_++) {}
  ~WriteTurn() {
    if (!reached()) {
      connection_.close();
      return;
    }
    ++connection_.current_turn_;
    connection_.turn_changed_.cancel();
  }
  WriteTurn(const WriteTurn&) = delete;
  WriteTurn& operator=(const WriteTurn&) = delete;
  bool reached() const { return connection_.current_turn_ == turn_; }

 private:
  TlsConnection& connection_;
  const std::uint64_t turn_;
};

TlsConnection::TlsConnection(TlsContext context, asio::ip::tcp::socket socket, bool is_server)
    : context_(std::move(context)),
      stream_(std::move(socket), *context_),
      is_server_(is_server),
      turn_changed_(stream_.get_executor(), asio::steady_timer::time_point::max()) {}

TlsConnection::~TlsConnection() {
  close();
}

void TlsConnection::close() {
  if (std::exchange(closed_, true)) return;
  boost::system::error_code ignored;
  stream_.lowest_layer().close(ignored);
  turn_changed_.cancel();
}

WireError TlsConnection::failure(boost::system::error_code error, bool timed_out) const {
  const std::string peer = peer_name_.empty() ? peer_address_ : std::format("{} ({})", peer_name_, peer_address_);
  if (timed_out) return {WireError::Kind::timeout, std::format("{} did not answer in time", peer)};
  if (own_check_failed(error)) {
    return {WireError::Kind::certificate, std::format("{} shows a certificate of another authority", peer)};
  }
  if (concerns_certificate(error)) {
    return {WireError::Kind::certificate, std::format("{} does not accept our certificate: {}", peer, error.message())};
  }
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) {
    return {WireError::Kind::closed, std::format("{} closed the connection", peer)};
  }
  if (closed_ && error == asio::error::operation_aborted) {
    return {WireError::Kind::closed, std::format("the connection with {} was closed", peer)};
  }
  return {WireError::Kind::closed, std::format("the connection with {} broke: {}", peer, error.message())};
}

TlsConnection::Awaitable<void> TlsConnection::handshake() {
  boost::system::error_code ignored;
  stream_.next_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
  const auto side = is_server_ ? asio::ssl::stream_base::server : asio::ssl::stream_base::client;
  const auto [error] = co_await stream_.async_handshake(side, kTuple);
  if (error) co_return std::unexpected(failure(error, false));
  if (const CertificatePtr certificate{SSL_get1_peer_certificate(stream_.native_handle())};
      certificate && SSL_get_verify_mode(stream_.native_handle()) != SSL_VERIFY_NONE &&
      SSL_get_verify_result(stream_.native_handle()) == X509_V_OK) {
    peer_name_ = common_name(certificate.get());
  }
  co_return std::expected<void, WireError>{};
}

TlsConnection::Awaitable<std::shared_ptr<TlsConnection>> TlsConnection::connect(TlsContext context, std::string host,
                                                                                std::uint16_t port, Duration timeout) {
  const auto executor = co_await asio::this_coro::executor;
  auto connection = std::make_shared<TlsConnection>(std::move(context), asio::ip::tcp::socket(executor), false);
  connection->peer_address_ = std::format("{}:{}", host, port);
  const Deadline deadline(*connection, timeout);
  asio::ip::tcp::resolver resolver(executor);
  const auto [lookup_error, endpoints] =
      co_await resolver.async_resolve(host, std::to_string(port), asio::ip::tcp::resolver::numeric_service, kTuple);
  if (lookup_error) {
    co_return std::unexpected(
        WireError{WireError::Kind::closed, std::format("the host {} is not known: {}", host, lookup_error.message())});
  }
  // async_connect opens a fresh socket per address, so a close() by the deadline must be looked for between them.
  const auto still_wanted = [&connection](const boost::system::error_code&, const asio::ip::tcp::endpoint&) {
    return !connection->closed_;
  };
  const auto [connect_error, endpoint] =
      co_await asio::async_connect(connection->stream_.next_layer(), endpoints, still_wanted, kTuple);
  if (connect_error || connection->closed_) {
    connection->close();
    co_return std::unexpected(
        WireError{deadline.expired() ? WireError::Kind::timeout : WireError::Kind::closed,
                  std::format("{} is not reachable: {}", connection->peer_address_,
                              deadline.expired() ? "no answer in time" : connect_error.message())});
  }
  auto done = co_await connection->handshake();
  if (!done) {
    connection->close();
    if (deadline.expired()) co_return std::unexpected(connection->failure({}, true));
    co_return std::unexpected(done.error());
  }
  co_return connection;
}

TlsConnection::Awaitable<std::shared_ptr<TlsConnection>> TlsConnection::accept(TlsContext context,
                                                                               asio::ip::tcp::socket socket,
                                                                               Duration timeout) {
  auto connection = std::make_shared<TlsConnection>(std::move(context), std::move(socket), true);
  connection->peer_address_ = address_of(connection->stream_.next_layer());
  const Deadline deadline(*connection, timeout);
  auto done = co_await connection->handshake();
  if (done) co_return connection;
  WireError error = deadline.expired() ? connection->failure({}, true) : done.error();
  // The client believes that the handshake is over and may be sending: closing with its bytes unread would reset the
  // connection and lose the alert that tells it why.
  boost::system::error_code ignored;
  connection->stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  std::array<char, 1024> scrap;
  while (!connection->closed_) {
    const auto [read_error, size] =
        co_await connection->stream_.next_layer().async_read_some(asio::buffer(scrap), kTuple);
    if (read_error) break;
  }
  connection->close();
  co_return std::unexpected(std::move(error));
}

TlsConnection::Awaitable<void> TlsConnection::read(google::protobuf::MessageLite& message, Duration timeout) {
  const auto self = shared_from_this();
  const Deadline deadline(*this, timeout);
  std::array<std::byte, kFrameHeaderBytes> header;
  const auto [header_error, header_size] = co_await asio::async_read(stream_, asio::buffer(header), kTuple);
  if (header_error) {
    close();
    co_return std::unexpected(failure(header_error, deadline.expired()));
  }
  const bool join_only = is_server_ && peer_name_.empty();
  const auto size = decode_frame_header(header, join_only ? kMaxJoinFrameBytes : kMaxFrameBytes);
  if (!size) {
    close();
    co_return std::unexpected(WireError{WireError::Kind::invalid, size.error().message});
  }
  std::string body(*size, '\0');
  const auto [body_error, body_size] = co_await asio::async_read(stream_, asio::buffer(body), kTuple);
  if (body_error) {
    close();
    co_return std::unexpected(failure(body_error, deadline.expired()));
  }
  if (auto decoded = decode_frame_body(body, message); !decoded) {
    close();
    co_return std::unexpected(WireError{WireError::Kind::invalid, decoded.error().message});
  }
  co_return std::expected<void, WireError>{};
}

TlsConnection::Awaitable<void> TlsConnection::write(const google::protobuf::MessageLite& message, Duration timeout) {
  return write_frame(shared_from_this(), encode_frame(message), timeout);
}

TlsConnection::Awaitable<void> TlsConnection::write_frame(std::shared_ptr<TlsConnection> /*alive*/,
                                                          std::expected<std::string, Error> frame, Duration timeout) {
  if (!frame) {
    close();
    co_return std::unexpected(WireError{WireError::Kind::invalid, frame.error().message});
  }
  const WriteTurn turn(*this);
  while (!turn.reached() && !closed_) co_await turn_changed_.async_wait(kTuple);
  if (closed_) co_return std::unexpected(failure(asio::error::operation_aborted, false));
  const Deadline deadline(*this, timeout);
  const auto [error, size] = co_await asio::async_write(stream_, asio::buffer(*frame), kTuple);
  if (error) {
    close();
    co_return std::unexpected(failure(error, deadline.expired()));
  }
  co_return std::expected<void, WireError>{};
}

asio::awaitable<void> TlsConnection::finish(Duration timeout) {
  const auto self = shared_from_this();
  const Deadline deadline(*this, timeout);
  if (!closed_) {
    boost::system::error_code ignored;
    stream_.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
  std::array<char, 4096> scrap;
  while (!closed_) {
    const auto [error, size] = co_await stream_.next_layer().async_read_some(asio::buffer(scrap), kTuple);
    if (error) break;
  }
  close();
}

std::expected<std::string, Error> TlsConnection::verify_pinned_authority(const std::string& fingerprint) {
  const CertificatePtr server(SSL_get1_peer_certificate(stream_.native_handle()));
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(stream_.native_handle());
  if (!server || chain == nullptr) return std::unexpected(Error{"the server shows no certificate"});
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* authority = sk_X509_value(chain, i);
    if (finch::protocol::fingerprint_of(authority) != fingerprint) continue;
    const StorePtr store(X509_STORE_new());
    const StoreContextPtr check(X509_STORE_CTX_new());
    X509_STORE_add_cert(store.get(), authority);
    if (X509_STORE_CTX_init(check.get(), store.get(), server.get(), nullptr) == 1 &&
        X509_STORE_CTX_set_purpose(check.get(), X509_PURPOSE_SSL_SERVER) == 1 && X509_verify_cert(check.get()) == 1) {
      return certificate_to_pem(authority);
    }
    return std::unexpected(
        Error{std::format("{} shows the pinned authority's certificate but is not certified by it: {}", peer_address_,
                          X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get())))});
  }
  return std::unexpected(Error{
      std::format("{} belongs to another authority than the pinned {}: somebody else answers there, or the invitation "
                  "is of another controller; ask for a new one with `finch devices invite`",
                  peer_address_, fingerprint)});
}

}  // namespace finch::protocol
