// What each end of the wire trusts: OpenSSL contexts made from an identity folder.
#include <boost/asio/ssl/context.hpp>
#include <format>

#include "protocol/durable_file.hpp"
#include "protocol/openssl_handles.hpp"
#include "protocol/tls_connection.hpp"

namespace finch::protocol {
namespace {

using Context = std::shared_ptr<asio::ssl::context>;

std::expected<Context, Error> make_context(asio::ssl::context::method method) {
  try {
    auto context = std::make_shared<asio::ssl::context>(method);
    // No resumption: a ticket would outlive the certificate check that it replaces.
    SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context->native_handle(), 0);
    return context;
  } catch (const std::exception& exception) {
    return std::unexpected(Error{std::format("OpenSSL gives no TLS 1.3 context: {}", exception.what())});
  }
}

// Loads certificate and key, trusts the authority of the folder and no other.
std::expected<void, Error> use_identity(asio::ssl::context& context, const std::filesystem::path& folder,
                                        bool send_authority) {
  SSL_CTX* native = context.native_handle();
  std::string pem[3];
  const char* names[3] = {"cert.pem", "key.pem", "authority.pem"};
  for (int i = 0; i < 3; ++i) {
    auto text = read_whole_file(folder / names[i]);
    if (!text) return std::unexpected(text.error());
    pem[i] = std::move(*text);
  }
  const CertificatePtr certificate = certificate_from_pem(pem[0]);
  const KeyPtr key(PEM_read_bio_PrivateKey(reading_bio(pem[1]).get(), nullptr, nullptr, nullptr));
  const CertificatePtr authority = certificate_from_pem(pem[2]);
  const char* bad = !certificate ? names[0] : !key ? names[1] : !authority ? names[2] : nullptr;
  if (bad != nullptr) {
    ERR_clear_error();
    return std::unexpected(
        Error{std::format("{} is damaged: remove the folder and join again", (folder / bad).string())});
  }
  if (send_authority && X509_check_purpose(certificate.get(), X509_PURPOSE_SSL_SERVER, 0) != 1) {
    return std::unexpected(Error{
        std::format("{} is not the controller's certificate: no worker would trust it", (folder / names[0]).string())});
  }
  if (SSL_CTX_use_certificate(native, certificate.get()) != 1 || SSL_CTX_use_PrivateKey(native, key.get()) != 1 ||
      (send_authority && SSL_CTX_add1_chain_cert(native, authority.get()) != 1) ||
      X509_STORE_add_cert(SSL_CTX_get_cert_store(native), authority.get()) != 1) {
    return std::unexpected(
        Error{std::format("the identity in {} cannot be used: {}", folder.string(), openssl_reason())});
  }
  return {};
}

}  // namespace

std::expected<Context, Error> server_context(const std::filesystem::path& identity) {
  auto context = make_context(asio::ssl::context::tlsv13_server);
  if (!context) return context;
  if (auto used = use_identity(**context, identity, true); !used) return std::unexpected(used.error());
  (*context)->set_verify_mode(asio::ssl::verify_peer);
  return context;
}

std::expected<Context, Error> client_context(const std::filesystem::path& identity) {
  auto context = make_context(asio::ssl::context::tlsv13_client);
  if (!context) return context;
  if (auto used = use_identity(**context, identity, false); !used) return std::unexpected(used.error());
  // OpenSSL asks for a server's certificate here, and an authority of ours makes that for the controller alone: another
  // device's key cannot pose as it.
  (*context)->set_verify_mode(asio::ssl::verify_peer);
  return context;
}

std::expected<Context, Error> pinned_context(const std::string& fingerprint) {
  auto context = make_context(asio::ssl::context::tlsv13_client);
  if (!context) return context;
  (*context)->set_verify_mode(asio::ssl::verify_peer);
  // The authority is not known yet: it must be among the certificates that the server shows, and must have certified
  // it. Called for every certificate of the chain and for everything OpenSSL finds wrong with it; the answer is the
  // same.
  (*context)->set_verify_callback([fingerprint](bool, asio::ssl::verify_context& verifying) {
    X509_STORE_CTX* chain = verifying.native_handle();
    X509* server = X509_STORE_CTX_get0_cert(chain);
    const STACK_OF(X509)* shown = X509_STORE_CTX_get0_untrusted(chain);
    for (int i = 0; i < sk_X509_num(shown); ++i) {
      X509* authority = sk_X509_value(shown, i);
      if (fingerprint_of(authority) != fingerprint) continue;
      return X509_verify(server, X509_get0_pubkey(authority)) == 1 &&
             X509_check_purpose(server, X509_PURPOSE_SSL_SERVER, 0) == 1;
    }
    return false;
  });
  return context;
}

}  // namespace finch::protocol
