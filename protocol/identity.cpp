#include "protocol/identity.hpp"

#include <array>
#include <format>
#include <optional>

#include "protocol/artifact_store.hpp"
#include "protocol/durable_file.hpp"
#include "protocol/openssl_handles.hpp"

namespace finch::protocol {
namespace fs = std::filesystem;
namespace {

constexpr mode_t kSecret = 0600;
constexpr mode_t kPublic = 0644;

Error openssl_error(std::string_view what) {
  return {std::format("{}: {}", what, openssl_reason())};
}

KeyPtr key_from_pem(const std::string& pem) {
  KeyPtr key(PEM_read_bio_PrivateKey(reading_bio(pem).get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  return key;
}

std::string key_to_pem(EVP_PKEY* key) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return bytes_of(out.get());
}

std::expected<KeyPtr, Error> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return std::unexpected(openssl_error("a key cannot be made"));
  return key;
}

bool is_p256(EVP_PKEY* key) {
  std::array<char, 32> group{};
  std::size_t length = 0;
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_group_name(key, group.data(), group.size(), &length) == 1 &&
         std::string_view(group.data(), length) == SN_X9_62_prime256v1;
}

std::optional<Error> bad_name(const std::string& name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (!name.empty() && name.size() <= 63 && name.find_first_not_of(kAllowed) == std::string::npos) return {};
  return Error{std::format("\"{}\" is no name for a worker: take 1 to 63 letters, digits, '.', '_' or '-'", name)};
}

bool set_common_name(X509_NAME* subject, std::string_view name) {
  return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.data()),
                                    static_cast<int>(name.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// Version, random serial, validity and key: what all our certificates have in common.
CertificatePtr unsigned_certificate(std::string_view name, EVP_PKEY* key) {
  CertificatePtr certificate(X509_new());
  std::array<unsigned char, 16> serial;
  X509* c = certificate.get();
  if (!c || RAND_bytes(serial.data(), static_cast<int>(serial.size())) != 1) return nullptr;
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);
  using NumberPtr = std::unique_ptr<BIGNUM, OpensslFree<BN_free>>;
  const NumberPtr number(BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr));
  const bool made = X509_set_version(c, X509_VERSION_3) == 1 &&
                    BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(c)) != nullptr &&
                    ASN1_TIME_set_string_X509(X509_getm_notBefore(c), "19700101000000Z") == 1 &&
                    ASN1_TIME_set_string_X509(X509_getm_notAfter(c), "99991231235959Z") == 1 &&
                    X509_set_pubkey(c, key) == 1 && set_common_name(X509_get_subject_name(c), name);
  return made ? std::move(certificate) : nullptr;
}

// Named after its key, so that a certificate made anew from a surviving key replaces the lost one everywhere.
std::expected<CertificatePtr, Error> make_authority_certificate(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size <= 0) return std::unexpected(openssl_error("the authority's key cannot be used"));
  const std::string hash = sha256_hex(std::string_view(reinterpret_cast<char*>(der), static_cast<std::size_t>(size)));
  OPENSSL_free(der);
  CertificatePtr certificate = unsigned_certificate("Finch authority " + hash.substr(0, 16), key);
  X509* c = certificate.get();
  if (!c || X509_set_issuer_name(c, X509_get_subject_name(c)) != 1 ||
      !add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(c, c, NID_subject_key_identifier, "hash") || X509_sign(c, key, EVP_sha256()) == 0) {
    return std::unexpected(openssl_error("the authority's certificate cannot be made"));
  }
  return certificate;
}

std::expected<std::string, Error> certify(const std::string& name, EVP_PKEY* key, X509* authority,
                                          EVP_PKEY* authority_key) {
  const std::string usage = name == kControllerName ? "serverAuth,clientAuth" : "clientAuth";
  const CertificatePtr certificate = unsigned_certificate(name, key);
  X509* c = certificate.get();
  if (!c || X509_set_issuer_name(c, X509_get_subject_name(authority)) != 1 ||
      !add_extension(c, authority, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(c, authority, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(c, authority, NID_ext_key_usage, usage) ||
      !add_extension(c, authority, NID_subject_key_identifier, "hash") ||
      !add_extension(c, authority, NID_authority_key_identifier, "keyid:always") ||
      !add_extension(c, authority, NID_subject_alt_name, "DNS:" + name) ||
      X509_sign(c, authority_key, EVP_sha256()) == 0) {
    return std::unexpected(openssl_error(std::format("the certificate of {} cannot be made", name)));
  }
  return certificate_to_pem(c);
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool holds_identity(const fs::path& folder, const std::string& name, const std::string& authority_pem) {
  const auto certificate_pem = read_whole_file(folder / "cert.pem");
  const auto key_pem = read_whole_file(folder / "key.pem");
  const auto trusted_pem = read_whole_file(folder / "authority.pem");
  if (!certificate_pem || !key_pem || trusted_pem != authority_pem) return false;
  const CertificatePtr certificate = certificate_from_pem(*certificate_pem);
  const CertificatePtr authority = certificate_from_pem(authority_pem);
  const KeyPtr key = key_from_pem(*key_pem);
  const bool valid = certificate && key && authority && common_name(certificate.get()) == name &&
                     X509_check_private_key(certificate.get(), key.get()) == 1 &&
                     X509_verify(certificate.get(), X509_get0_pubkey(authority.get())) == 1;
  ERR_clear_error();
  return valid;
}

}  // namespace

std::expected<Authority, Error> Authority::load_or_create(const fs::path& folder) {
  if (auto made = make_folder(folder); !made) return std::unexpected(made.error());
  const auto lock = FileLock::wait_for(folder / "authority.lock");
  if (!lock) return std::unexpected(lock.error());
  const fs::path certificate_file = folder / "authority.pem", key_file = folder / "authority.key";

  KeyPtr key;
  if (is_there(key_file)) {
    const auto pem = read_whole_file(key_file);
    if (!pem) return std::unexpected(pem.error());
    key = key_from_pem(*pem);
    if (!key || !is_p256(key.get())) {
      return std::unexpected(
          Error{std::format("{} is damaged or foreign: restore it, or remove {} (all devices must then join again)",
                            key_file.string(), folder.string())});
    }
  } else {
    if (is_there(certificate_file)) {
      return std::unexpected(Error{std::format(
          "{} is missing beside its certificate: restore it, or remove {} (all devices must then join again)",
          key_file.string(), folder.string())});
    }
    auto made = make_key();
    if (!made) return std::unexpected(made.error());
    key = std::move(*made);
    if (auto written = write_durably(key_file, key_to_pem(key.get()), kSecret); !written) {
      return std::unexpected(written.error());
    }
  }

  CertificatePtr certificate;
  if (is_there(certificate_file)) {
    const auto pem = read_whole_file(certificate_file);
    if (!pem) return std::unexpected(pem.error());
    certificate = certificate_from_pem(*pem);
    const bool ours = certificate && X509_check_ca(certificate.get()) == 1 &&
                      X509_check_private_key(certificate.get(), key.get()) == 1;
    ERR_clear_error();
    if (!ours) {
      return std::unexpected(
          Error{std::format("{} is damaged or belongs to another key: remove this file, it is made again from {}",
                            certificate_file.string(), key_file.string())});
    }
  } else {
    auto made = make_authority_certificate(key.get());
    if (!made) return std::unexpected(made.error());
    certificate = std::move(*made);
    if (auto written = write_durably(certificate_file, certificate_to_pem(certificate.get()), kPublic); !written) {
      return std::unexpected(written.error());
    }
  }
  Authority authority;
  authority.certificate_pem_ = certificate_to_pem(certificate.get());
  authority.key_pem_ = key_to_pem(key.get());
  authority.fingerprint_ = finch::protocol::fingerprint_of(certificate.get());
  return authority;
}

std::expected<std::string, Error> Authority::issue(const std::string& name,
                                                   const std::string& certificate_request_pem) const {
  if (auto bad = bad_name(name)) return std::unexpected(std::move(*bad));
  if (name == kControllerName) {
    return std::unexpected(Error{std::format("the name \"{}\" is the controller's own: take another", name)});
  }
  const RequestPtr request(
      PEM_read_bio_X509_REQ(reading_bio(certificate_request_pem).get(), nullptr, nullptr, nullptr));
  EVP_PKEY* key = request ? X509_REQ_get0_pubkey(request.get()) : nullptr;
  // The signature shows that the asker holds the private key.
  const bool valid = key != nullptr && is_p256(key) && X509_REQ_verify(request.get(), key) == 1;
  ERR_clear_error();
  if (!valid) {
    return std::unexpected(Error{std::format("what {} sent is no valid certificate request (ECDSA P-256, PEM)", name)});
  }
  return certify(name, key, certificate_from_pem(certificate_pem_).get(), key_from_pem(key_pem_).get());
}

std::expected<void, Error> Authority::write_identity(const std::string& name, const fs::path& folder) const {
  if (auto bad = bad_name(name)) return std::unexpected(std::move(*bad));
  if (auto made = make_folder(folder); !made) return made;
  const auto lock = FileLock::wait_for(folder / "identity.lock");
  if (!lock) return std::unexpected(lock.error());
  if (holds_identity(folder, name, certificate_pem_)) return {};
  const auto key = make_key();
  if (!key) return std::unexpected(key.error());
  const auto certificate =
      certify(name, key->get(), certificate_from_pem(certificate_pem_).get(), key_from_pem(key_pem_).get());
  if (!certificate) return std::unexpected(certificate.error());
  return write_durably(folder / "authority.pem", certificate_pem_, kPublic)
      .and_then([&] { return write_durably(folder / "key.pem", key_to_pem(key->get()), kSecret); })
      .and_then([&] { return write_durably(folder / "cert.pem", *certificate, kPublic); });
}

std::expected<std::string, Error> make_certificate_request(const std::string& name, const fs::path& folder) {
  if (auto bad = bad_name(name)) return std::unexpected(std::move(*bad));
  if (auto made = make_folder(folder); !made) return std::unexpected(made.error());
  const auto key = make_key();
  if (!key) return std::unexpected(key.error());
  const RequestPtr request(X509_REQ_new());
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (!request || X509_REQ_set_pubkey(request.get(), key->get()) != 1 ||
      !set_common_name(X509_REQ_get_subject_name(request.get()), name) ||
      X509_REQ_sign(request.get(), key->get(), EVP_sha256()) == 0 ||
      PEM_write_bio_X509_REQ(out.get(), request.get()) != 1) {
    return std::unexpected(openssl_error("a certificate request cannot be made"));
  }
  if (auto written = write_durably(folder / "key.pem", key_to_pem(key->get()), kSecret); !written) {
    return std::unexpected(written.error());
  }
  return bytes_of(out.get());
}

std::expected<std::string, Error> fingerprint_of(const std::string& certificate_pem) {
  const CertificatePtr certificate = certificate_from_pem(certificate_pem);
  if (!certificate) return std::unexpected(Error{"this is no certificate in PEM form"});
  return finch::protocol::fingerprint_of(certificate.get());
}

}  // namespace finch::protocol
