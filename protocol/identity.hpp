// Keys, certificates and the authority behind mutual TLS 1.3 (ECDSA P-256). Free functions and values; thread safe,
// also between processes that use one folder.
//
// Certificates do not expire and are valid from 1970 on: boards without a battery-backed clock start in the past, and
// a device is shut out by the controller's list of devices, not by a date.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "protocol/error.hpp"

namespace finch::protocol {

// The one name whose certificate makes a server: workers trust nobody else, so that a stolen board's key cannot pose
// as the controller. Only write_identity() certifies it, never issue().
inline constexpr const char* kControllerName = "controller";

// The controller's certificate authority: authority.pem and authority.key (mode 0600) in one folder.
class Authority {
 public:
  // Made on first use. Errors: folder not writable, a damaged or foreign file there.
  static std::expected<Authority, Error> load_or_create(const std::filesystem::path& folder);

  std::string certificate_pem() const { return certificate_pem_; }
  std::string fingerprint() const { return fingerprint_; }  // "sha256:<hex>" of the DER certificate

  // Certifies the request's key for `name` (common name; what the request calls itself does not count). Names are 1 to
  // 63 letters, digits, '.', '_' or '-'. Error: not a valid request, not a valid name.
  std::expected<std::string, Error> issue(const std::string& name, const std::string& certificate_request_pem) const;
  // Writes key.pem (0600), cert.pem and authority.pem for `name` into `folder`, unless a valid identity is there.
  std::expected<void, Error> write_identity(const std::string& name, const std::filesystem::path& folder) const;

 private:
  std::string certificate_pem_, key_pem_, fingerprint_;
};

// A new key at folder/key.pem (0600) and a certificate request for it, PEM.
std::expected<std::string, Error> make_certificate_request(const std::string& name,
                                                           const std::filesystem::path& folder);
std::expected<std::string, Error> fingerprint_of(const std::string& certificate_pem);

}  // namespace finch::protocol
