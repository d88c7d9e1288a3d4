// Owning pointers to OpenSSL's objects and the reading of its error queue; included by sources of protocol/ only.
// The queue is one per thread; everything else is as thread safe as OpenSSL's objects.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

namespace finch::protocol {

template <auto kFree>
struct OpensslFree {
  template <class T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};

using KeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, OpensslFree<X509_REQ_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using NamePtr = std::unique_ptr<X509_NAME, OpensslFree<X509_NAME_free>>;
using StorePtr = std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free_all>>;

// Why the last call failed; empties the queue.
std::string openssl_reason();

BioPtr reading_bio(std::string_view bytes);  // the bytes must outlive it
std::string bytes_of(BIO* memory);
// Null when the text holds no certificate.
CertificatePtr certificate_from_pem(std::string_view pem);
std::string certificate_to_pem(X509* certificate);
// "sha256:<hex>" of the DER form.
std::string fingerprint_of(X509* certificate);
std::string common_name(X509* certificate);

}  // namespace finch::protocol
