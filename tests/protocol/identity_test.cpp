#include "protocol/identity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <vector>

#include "protocol/durable_file.hpp"
#include "protocol/openssl_handles.hpp"
#include "temporary_folder.hpp"

namespace finch::protocol {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

mode_t mode_of(const fs::path& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 0777;
}

std::string text_of(const fs::path& path) {
  return read_whole_file(path).value();
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

TEST(Identity, TheAuthorityIsMadeOnceAndItsKeyIsSecret) {
  const TemporaryFolder folder;
  const auto first = Authority::load_or_create(folder / "deep/authority");
  ASSERT_TRUE(first) << first.error().message;
  const auto second = Authority::load_or_create(folder / "deep/authority");
  ASSERT_TRUE(second);
  EXPECT_EQ(first->fingerprint(), second->fingerprint());
  EXPECT_EQ(first->certificate_pem(), second->certificate_pem());
  EXPECT_EQ(fingerprint_of(first->certificate_pem()), first->fingerprint());
  EXPECT_EQ(first->fingerprint().size(), 7 + 64u);
  EXPECT_EQ(mode_of(folder / "deep/authority/authority.key"), 0600u);
  EXPECT_NE(Authority::load_or_create(folder / "other")->fingerprint(), first->fingerprint());
}

TEST(Identity, ProcessesThatMakeTheAuthorityAtOnceAgree) {
  const TemporaryFolder folder;
  int results[2];
  ASSERT_EQ(::pipe(results), 0);
  constexpr int kProcesses = 6;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto authority = Authority::load_or_create(folder.path() / "authority");
      const std::string line = authority ? authority->fingerprint() : std::string(71, '!');
      ::_exit(::write(results[1], line.data(), line.size()) == 71 ? 0 : 1);
    }
    children.push_back(child);
  }
  std::set<std::string> seen;
  for (const pid_t child : children) {
    std::string line(71, ' ');
    ASSERT_EQ(::read(results[0], line.data(), line.size()), 71);
    seen.insert(line);
    ::waitpid(child, nullptr, 0);
  }
  EXPECT_EQ(seen.size(), 1u);
  EXPECT_THAT(*seen.begin(), HasSubstr("sha256:"));
  ::close(results[0]);
  ::close(results[1]);
}

TEST(Identity, ACertificateLostBesideItsKeyIsMadeAnewAndOldIdentitiesStayValid) {
  const TemporaryFolder folder;
  const auto before = Authority::load_or_create(folder / "a");
  ASSERT_TRUE(before->write_identity("board", folder / "board"));
  const std::string issued = text_of(folder / "board/cert.pem");
  fs::remove(folder / "a/authority.pem");
  const auto after = Authority::load_or_create(folder / "a");
  ASSERT_TRUE(after) << after.error().message;
  const CertificatePtr board = certificate_from_pem(issued);
  const CertificatePtr authority = certificate_from_pem(after->certificate_pem());
  EXPECT_EQ(X509_check_issued(authority.get(), board.get()), X509_V_OK);
  EXPECT_EQ(X509_verify(board.get(), X509_get0_pubkey(authority.get())), 1);
}

TEST(Identity, DamagedAndForeignFilesAreNamed) {
  const TemporaryFolder folder;
  ASSERT_TRUE(Authority::load_or_create(folder / "a"));
  ASSERT_TRUE(Authority::load_or_create(folder / "b"));

  fs::copy_file(folder / "b/authority.pem", folder / "a/authority.pem", fs::copy_options::overwrite_existing);
  auto foreign = Authority::load_or_create(folder / "a");
  ASSERT_FALSE(foreign);
  EXPECT_THAT(foreign.error().message, HasSubstr("authority.pem"));

  write_text(folder / "b/authority.key", "not a key");
  auto damaged = Authority::load_or_create(folder / "b");
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().message, HasSubstr("authority.key"));

  fs::remove(folder / "b/authority.key");
  auto missing = Authority::load_or_create(folder / "b");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("missing"));
  EXPECT_FALSE(fs::exists(folder / "b/authority.key")) << "a new key would silently shut out all devices";

  write_text(folder / "file", "");
  auto no_folder = Authority::load_or_create(folder / "file/below");
  ASSERT_FALSE(no_folder);
  EXPECT_THAT(no_folder.error().message, HasSubstr("file"));
}

TEST(Identity, ARequestIsCertifiedForTheNameTheAuthorityChose) {
  const TemporaryFolder folder;
  const auto authority = Authority::load_or_create(folder / "a");
  const auto request = make_certificate_request("whatever", folder / "board");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(mode_of(folder / "board/key.pem"), 0600u);
  const auto pem = authority->issue("pi-4-kitchen", *request);
  ASSERT_TRUE(pem) << pem.error().message;

  const CertificatePtr certificate = certificate_from_pem(*pem);
  EXPECT_EQ(common_name(certificate.get()), "pi-4-kitchen");
  EXPECT_EQ(X509_check_host(certificate.get(), "pi-4-kitchen", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_verify(certificate.get(), X509_get0_pubkey(certificate_from_pem(authority->certificate_pem()).get())),
            1);
  EXPECT_EQ(X509_check_purpose(certificate.get(), X509_PURPOSE_SSL_CLIENT, 0), 1);
  EXPECT_EQ(X509_check_purpose(certificate.get(), X509_PURPOSE_SSL_SERVER, 0), 0)
      << "a board must not pose as the controller";
  EXPECT_EQ(X509_check_ca(certificate.get()), 0);
}

TEST(Identity, CertificatesHoldOnBoardsWhoseClockIsWrong) {
  const TemporaryFolder folder;
  const auto authority = Authority::load_or_create(folder / "a");
  const auto pem = authority->issue("board", *make_certificate_request("board", folder / "board"));
  for (const std::string& text : {*pem, authority->certificate_pem()}) {
    const CertificatePtr certificate = certificate_from_pem(text);
    for (time_t clock : {time_t{86400}, time_t{4'000'000'000}, time_t{32'000'000'000}}) {
      EXPECT_LT(X509_cmp_time(X509_get0_notBefore(certificate.get()), &clock), 0) << clock;
      EXPECT_GT(X509_cmp_time(X509_get0_notAfter(certificate.get()), &clock), 0) << clock;
    }
  }
}

TEST(Identity, BadRequestsAndNamesAreRefused) {
  const TemporaryFolder folder;
  const auto authority = Authority::load_or_create(folder / "a");
  const auto request = make_certificate_request("board", folder / "board");
  EXPECT_FALSE(authority->issue("board", "garbage"));
  EXPECT_FALSE(authority->issue("board", authority->certificate_pem()));
  EXPECT_FALSE(authority->issue(kControllerName, *request));
  for (const std::string& name : {std::string(), std::string("a b"), std::string("../up"), std::string("a,DNS:b"),
                                  std::string(64, 'x'), std::string("a\n")}) {
    EXPECT_FALSE(authority->issue(name, *request)) << name;
  }
  std::string forged = *request;  // one changed digit inside: the signature no longer holds
  char& digit = forged[forged.size() / 2];
  digit = digit == 'A' ? 'B' : 'A';
  EXPECT_FALSE(authority->issue("board", forged));
}

TEST(Identity, AValidIdentityIsKeptAndAnotherIsReplaced) {
  const TemporaryFolder folder;
  const auto authority = Authority::load_or_create(folder / "a");
  ASSERT_TRUE(authority->write_identity("agent", folder / "w"));
  const std::string first = text_of(folder / "w/cert.pem");
  EXPECT_EQ(mode_of(folder / "w/key.pem"), 0600u);
  EXPECT_EQ(text_of(folder / "w/authority.pem"), authority->certificate_pem());
  ASSERT_TRUE(authority->write_identity("agent", folder / "w"));
  EXPECT_EQ(text_of(folder / "w/cert.pem"), first);

  const auto other = Authority::load_or_create(folder / "b");
  ASSERT_TRUE(other->write_identity("agent", folder / "w"));
  EXPECT_NE(text_of(folder / "w/cert.pem"), first);
  EXPECT_EQ(text_of(folder / "w/authority.pem"), other->certificate_pem());
}

}  // namespace
}  // namespace finch::protocol
