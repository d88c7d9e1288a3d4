#include "protocol/identity.hpp"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
#include <memory>
#include <sstream>

#include "protocol/artifact_store.hpp"

namespace finch::protocol {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Request = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using Memory = std::unique_ptr<BIO, Deleter<BIO_free>>;

constexpr long kDay = 24 * 60 * 60;
// Boards without a battery start in the past; certificates are valid from long ago.
constexpr long kValidFrom = -20 * 365 * kDay;
constexpr long kValidUntil = 30 * 365 * kDay;

std::string taken(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(memory.get(), certificate);
  return taken(memory.get());
}

std::string pem_of(EVP_PKEY* key) {
  const Memory memory(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return taken(memory.get());
}

Certificate read_certificate(const std::string& pem) {
  const Memory memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr));
}

Key read_key(const std::string& pem) {
  const Memory memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Key(PEM_read_bio_PrivateKey(memory.get(), nullptr, nullptr, nullptr));
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::expected<void, Error> write_file(const std::filesystem::path& path, const std::string& text, mode_t mode) {
  std::filesystem::path temporary = path;
  temporary += std::format(".{}.tmp", ::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  const bool written =
      file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  if (!written || ::rename(temporary.c_str(), path.c_str()) != 0) {
    return std::unexpected(
        Error{std::format("{}: cannot write: {}", path.string(), std::strerror(written ? errno : error))});
  }
  return {};
}

void set_name(X509_NAME* name, const std::string& common_name) {
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
}

void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  if (extension == nullptr) return;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

Certificate new_certificate(const std::string& common_name, EVP_PKEY* key) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  std::array<unsigned char, 16> serial{};
  RAND_bytes(serial.data(), serial.size());
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial.data(), serial.size(), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate.get()));
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), kValidFrom);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kValidUntil);
  set_name(X509_get_subject_name(certificate.get()), common_name);
  X509_set_pubkey(certificate.get(), key);
  return certificate;
}

// Keeps two processes from making the authority at once.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder)
      : file_(::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ >= 0) ::flock(file_, LOCK_EX);
  }
  ~FolderLock() {
    if (file_ >= 0) ::close(file_);
  }
  bool held() const { return file_ >= 0; }

 private:
  int file_;
};

}  // namespace

std::expected<std::string, Error> fingerprint_of(const std::string& certificate_pem) {
  const Certificate certificate = read_certificate(certificate_pem);
  if (!certificate) return std::unexpected(Error{"this is no certificate in PEM form"});
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  const std::string hex =
      sha256_hex(std::string_view(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)));
  OPENSSL_free(der);
  return "sha256:" + hex;
}

std::expected<Authority, Error> Authority::load_or_create(const std::filesystem::path& folder) {
  const auto certificate_file = folder / "authority.pem";
  const auto key_file = folder / "authority.key";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return std::unexpected(Error{folder.string() + ": cannot create: " + error.message()});
  const FolderLock lock(folder);
  if (!lock.held()) return std::unexpected(Error{folder.string() + ": cannot write: " + std::strerror(errno)});
  if (!std::filesystem::exists(certificate_file) && !std::filesystem::exists(key_file)) {
    const Key key(EVP_EC_gen("P-256"));
    std::array<unsigned char, 4> random{};
    RAND_bytes(random.data(), random.size());
    // A name of its own, so that two authorities are never mistaken for each other.
    const Certificate certificate = new_certificate(
        std::format("Finch authority {:02x}{:02x}{:02x}{:02x}", random[0], random[1], random[2], random[3]), key.get());
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
    add_extension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash");
    X509_sign(certificate.get(), key.get(), EVP_sha256());
    if (auto written = write_file(key_file, pem_of(key.get()), 0600); !written) return std::unexpected(written.error());
    if (auto written = write_file(certificate_file, pem_of(certificate.get()), 0644); !written) {
      return std::unexpected(written.error());
    }
  }
  Authority authority;
  authority.certificate_pem_ = read_file(certificate_file);
  authority.key_pem_ = read_file(key_file);
  const Certificate certificate = read_certificate(authority.certificate_pem_);
  const Key key = read_key(authority.key_pem_);
  if (!certificate || !key || X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return std::unexpected(Error{std::format(
        "{}: the authority is damaged (authority.pem and authority.key do not belong together); restore them from a "
        "backup, or delete the folder and invite every device anew",
        folder.string())});
  }
  authority.fingerprint_ = *fingerprint_of(authority.certificate_pem_);
  return authority;
}

std::expected<std::string, Error> Authority::issue(const std::string& name,
                                                   const std::string& certificate_request_pem) const {
  const Memory memory(
      BIO_new_mem_buf(certificate_request_pem.data(), static_cast<int>(certificate_request_pem.size())));
  const Request request(PEM_read_bio_X509_REQ(memory.get(), nullptr, nullptr, nullptr));
  if (!request || X509_REQ_verify(request.get(), X509_REQ_get0_pubkey(request.get())) != 1) {
    ERR_clear_error();
    return std::unexpected(Error{"'" + name + "' sent no valid certificate request"});
  }
  const Certificate issuer = read_certificate(certificate_pem_);
  const Key key = read_key(key_pem_);
  // The name is the one that was invited, whatever the request says.
  const Certificate certificate = new_certificate(name, X509_REQ_get0_pubkey(request.get()));
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get()));
  add_extension(certificate.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate.get(), issuer.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(certificate.get(), issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(certificate.get(), issuer.get(), NID_authority_key_identifier, "keyid:always");
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  return pem_of(certificate.get());
}

std::expected<void, Error> Authority::write_identity(const std::string& name,
                                                     const std::filesystem::path& folder) const {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return std::unexpected(Error{folder.string() + ": cannot create: " + error.message()});
  const FolderLock lock(folder);
  const Certificate present = read_certificate(read_file(folder / "cert.pem"));
  const Key issuer_key = read_key(key_pem_);
  const Key present_key = read_key(read_file(folder / "key.pem"));
  if (present && present_key && X509_verify(present.get(), issuer_key.get()) == 1 &&
      X509_check_private_key(present.get(), present_key.get()) == 1) {
    return {};
  }
  ERR_clear_error();
  return make_certificate_request(name, folder)
      .and_then([&](const std::string& request) { return issue(name, request); })
      .and_then([&](const std::string& certificate) { return write_file(folder / "cert.pem", certificate, 0644); })
      .and_then([&] { return write_file(folder / "authority.pem", certificate_pem_, 0644); });
}

std::expected<std::string, Error> make_certificate_request(const std::string& name,
                                                           const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return std::unexpected(Error{folder.string() + ": cannot create: " + error.message()});
  const Key key(EVP_EC_gen("P-256"));
  if (auto written = write_file(folder / "key.pem", pem_of(key.get()), 0600); !written) {
    return std::unexpected(written.error());
  }
  const Request request(X509_REQ_new());
  set_name(X509_REQ_get_subject_name(request.get()), name);
  X509_REQ_set_pubkey(request.get(), key.get());
  X509_REQ_sign(request.get(), key.get(), EVP_sha256());
  const Memory memory(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(memory.get(), request.get());
  return taken(memory.get());
}

}  // namespace finch::protocol
