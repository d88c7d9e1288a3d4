#include "protocol/tls_connection.hpp"

#include <google/protobuf/message_lite.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <format>

#include "protocol/identity.hpp"

namespace finch::protocol {
namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

std::string common_name(X509* certificate) {
  std::array<char, 256> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
  return name.data();
}

std::string pem_of(X509* certificate) {
  BIO* memory = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(memory, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  std::string pem(data, static_cast<std::size_t>(size));
  BIO_free(memory);
  return pem;
}

std::shared_ptr<asio::ssl::context> tls13(asio::ssl::context::method method) {
  auto context = std::make_shared<asio::ssl::context>(method);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_3_VERSION);
  return context;
}

std::expected<std::shared_ptr<asio::ssl::context>, Error> identity_context(asio::ssl::context::method method,
                                                                           const std::filesystem::path& identity) {
  try {
    auto context = tls13(method);
    context->use_certificate_chain_file((identity / "cert.pem").string());
    context->use_private_key_file((identity / "key.pem").string(), asio::ssl::context::pem);
    context->load_verify_file((identity / "authority.pem").string());
    context->set_verify_mode(asio::ssl::verify_peer);
    return context;
  } catch (const boost::system::system_error& error) {
    return std::unexpected(
        Error{std::format("{}: no usable identity (cert.pem, key.pem, authority.pem): {}; join again",
                          identity.string(), error.code().message())});
  }
}

// OpenSSL's words for what matters to people.
std::string explain(const boost::system::error_code& error) {
  const std::string text = error.message();
  if (text.find("unknown ca") != std::string::npos || text.find("certificate required") != std::string::npos ||
      text.find("bad certificate") != std::string::npos) {
    return "the other side does not accept this certificate: it belongs to another authority; join again with a new "
           "invitation";
  }
  if (text.find("certificate verify failed") != std::string::npos) {
    return "the other side's certificate belongs to another authority";
  }
  if (error == asio::error::eof || text.find("stream truncated") != std::string::npos)
    return "the other side closed the connection";
  return text;
}

}  // namespace

std::expected<std::shared_ptr<asio::ssl::context>, Error> server_context(const std::filesystem::path& identity) {
  auto context = identity_context(asio::ssl::context::tls_server, identity);
  if (!context) return context;
  // The chain carries the authority, so that a joining device can compare it with its pinned fingerprint.
  BIO* file = BIO_new_file((identity / "authority.pem").c_str(), "r");
  X509* authority = PEM_read_bio_X509(file, nullptr, nullptr, nullptr);
  BIO_free(file);
  SSL_CTX_add_extra_chain_cert((*context)->native_handle(), authority);  // owns it now
  return context;
}

std::expected<std::shared_ptr<asio::ssl::context>, Error> client_context(const std::filesystem::path& identity) {
  auto context = identity_context(asio::ssl::context::tls_client, identity);
  if (!context) return context;
  (*context)->set_verify_callback([](bool verified, asio::ssl::verify_context& chain) {
    if (!verified) return false;
    // Another device of the same authority must not pose as the controller.
    X509_STORE_CTX* store = chain.native_handle();
    return X509_STORE_CTX_get_error_depth(store) > 0 ||
           common_name(X509_STORE_CTX_get_current_cert(store)) == kControllerName;
  });
  return context;
}

std::expected<std::shared_ptr<asio::ssl::context>, Error> pinned_context(const std::string& fingerprint) {
  auto context = tls13(asio::ssl::context::tls_client);
  context->set_verify_mode(asio::ssl::verify_peer);
  // The authority is not known yet: the chain is built from what the server shows, and its root must be the pinned one.
  context->set_verify_callback([fingerprint](bool, asio::ssl::verify_context& chain) {
    X509_STORE_CTX* store = chain.native_handle();
    STACK_OF(X509)* shown = X509_STORE_CTX_get0_untrusted(store);
    for (int i = 0; i < sk_X509_num(shown); ++i) {
      X509* authority = sk_X509_value(shown, i);
      if (fingerprint_of(pem_of(authority)) != fingerprint) continue;
      X509* leaf = X509_STORE_CTX_get0_cert(store);
      if (X509_verify(leaf, X509_get0_pubkey(authority)) == 1 && common_name(leaf) == kControllerName) return true;
    }
    return false;
  });
  return context;
}

Connection::Connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context)
    : context_(std::move(context)),
      stream_(std::move(socket), *context_),
      timer_(stream_.get_executor()),
      last_heard_(std::chrono::steady_clock::now()) {
  boost::system::error_code ignored;
  stream_.lowest_layer().set_option(asio::ip::tcp::no_delay(true), ignored);
}

asio::awaitable<std::expected<void, Error>> Connection::handshake(bool server) {
  const auto self = shared_from_this();
  timer_.expires_after(kHandshake);
  timer_.async_wait([self](boost::system::error_code error) {
    if (!error) self->shut("no TLS handshake within 10 seconds");
  });
  const auto type = server ? asio::ssl::stream_base::server : asio::ssl::stream_base::client;
  const auto [error] = co_await stream_.async_handshake(type, kAwait);
  timer_.cancel();
  if (error) co_return std::unexpected(Error{why_.empty() ? explain(error) : why_});
  co_return std::expected<void, Error>{};
}

std::string Connection::peer_name() {
  X509* certificate = SSL_get0_peer_certificate(stream_.native_handle());
  return certificate == nullptr ? "" : common_name(certificate);
}

std::string Connection::peer_address() const {
  boost::system::error_code error;
  const auto endpoint = stream_.lowest_layer().remote_endpoint(error);
  return error ? "an unknown address" : endpoint.address().to_string();
}

std::string Connection::peer_authority_pem() {
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(stream_.native_handle());
  return chain == nullptr ? "" : pem_of(sk_X509_value(chain, sk_X509_num(chain) - 1));
}

asio::awaitable<std::string> Connection::read_frames(std::function<void(std::string_view)> on_frame) {
  const auto self = shared_from_this();
  last_heard_ = std::chrono::steady_clock::now();
  asio::co_spawn(stream_.get_executor(), [self] { return self->watch(); }, asio::detached);
  std::string frame;
  while (open_) {
    std::array<unsigned char, 4> header{};
    const auto [header_error, header_size] = co_await asio::async_read(stream_, asio::buffer(header), kAwait);
    if (header_error) {
      shut(explain(header_error));
      break;
    }
    const std::size_t size =
        std::size_t{header[0]} << 24 | std::size_t{header[1]} << 16 | std::size_t{header[2]} << 8 | header[3];
    if (size > kMaximumFrameBytes) {
      shut(std::format("a message of {} bytes; at most {} are allowed", size, kMaximumFrameBytes));
      break;
    }
    frame.resize(size);
    const auto [error, read] = co_await asio::async_read(stream_, asio::buffer(frame), kAwait);
    if (error) {
      shut(explain(error));
      break;
    }
    last_heard_ = std::chrono::steady_clock::now();
    on_frame(frame);
  }
  co_return why_;
}

void Connection::send(const google::protobuf::MessageLite& message) {
  std::string frame(4, '\0');
  message.AppendToString(&frame);
  const std::size_t size = frame.size() - 4;
  for (std::size_t i = 0; i < 4; ++i) frame[i] = static_cast<char>(size >> (24 - 8 * i));
  asio::dispatch(stream_.get_executor(), [self = shared_from_this(), frame = std::move(frame)]() mutable {
    if (!self->open_ || self->closing_) return;
    self->queue_.push_back(std::move(frame));
    if (self->writing_) return;
    self->writing_ = true;
    asio::co_spawn(self->stream_.get_executor(), [self] { return self->write_queue(); }, asio::detached);
  });
}

asio::awaitable<void> Connection::write_queue() {
  const auto self = shared_from_this();
  while (open_ && !queue_.empty()) {
    write_began_ = std::chrono::steady_clock::now();
    const std::string frame = std::move(queue_.front());
    queue_.pop_front();
    const auto [error, written] = co_await asio::async_write(stream_, asio::buffer(frame), kAwait);
    if (error) shut(explain(error));
  }
  writing_ = false;
  if (closing_) shut("closed");
}

// Ends the connection when the peer has been silent, or does not read, for too long.
asio::awaitable<void> Connection::watch() {
  const auto self = shared_from_this();
  while (open_) {
    timer_.expires_after(std::chrono::seconds(1));
    co_await timer_.async_wait(kAwait);
    const auto now = std::chrono::steady_clock::now();
    if (now - last_heard_ > kSilence) shut(std::format("nothing heard for {} seconds", kSilence.count()));
    if (writing_ && now - write_began_ > kSilence)
      shut(std::format("the other side does not read for {} seconds", kSilence.count()));
  }
}

void Connection::close() {
  asio::dispatch(stream_.get_executor(), [self = shared_from_this()] {
    self->closing_ = true;
    if (!self->writing_) self->shut("closed");
  });
}

void Connection::shut(const std::string& why) {
  if (!open_) return;
  open_ = false;
  why_ = why;
  boost::system::error_code ignored;
  stream_.lowest_layer().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  stream_.lowest_layer().close(ignored);
  timer_.cancel();
}

}  // namespace finch::protocol
