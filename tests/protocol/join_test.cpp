#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/worker.hpp"
#include "wire_fixture.hpp"

namespace finch::protocol {
namespace {

using asio::awaitable;
using testing::HasSubstr;

class JoinTest : public WireTest {
 protected:
  // A controller that lets one invitation in, or refuses it; what it was asked is kept.
  awaitable<void> controller(bool knows_the_token, std::string identity = "controller") {
    const auto accepted = co_await accept(server_context(folder / identity).value());
    if (!accepted) co_return;
    const ConnectionPtr connection = *accepted;
    EXPECT_EQ(connection->peer_name(), "");
    co_await connection->read_frames([&](std::string_view frame) {
      ToController message;
      EXPECT_TRUE(decode_frame_body(frame, message));
      asked = message.join();
      ToWorker out;
      out.mutable_heartbeat();
      connection->send(out);
      if (knows_the_token) {
        Joined& joined = *out.mutable_joined();
        joined.set_name("pi-4-kitchen");
        joined.set_profile("raspberry-pi-4");
        joined.set_certificate_pem(authority.issue("pi-4-kitchen", asked.certificate_request_pem()).value());
        joined.set_authority_pem(answered_authority);
      } else {
        out.mutable_refused()->set_reason("this invitation was used");
        out.mutable_refused()->set_final(true);
      }
      connection->send(out);
      connection->close();
    });
  }
  std::expected<JoinedDevice, Error> join_at(awaitable<void> controller_side, const std::string& fingerprint) {
    std::expected<JoinedDevice, Error> joined = std::unexpected(Error{});
    std::jthread board([&] {
      joined = join({.host = "127.0.0.1", .port = port(), .token = "one-time", .fingerprint = fingerprint},
                    folder / "new-board");
    });
    run(std::move(controller_side));
    board.join();
    return joined;
  }

  Join asked;
  std::string answered_authority = authority.certificate_pem();
};

TEST_F(JoinTest, ABoardJoinsAndItsIdentityWorks) {
  const auto joined = join_at(controller(true), authority.fingerprint());
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_EQ(joined->name, "pi-4-kitchen");
  EXPECT_EQ(joined->profile, "raspberry-pi-4");
  EXPECT_EQ(asked.token(), "one-time");
  struct stat status{};
  ASSERT_EQ(::stat((folder / "new-board/key.pem").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_FALSE(std::filesystem::exists(folder / "new-board/joining"));

  run(
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await accept(server_context(folder / "controller").value()));
        EXPECT_EQ(connection->peer_name(), "pi-4-kitchen");
      },
      [&]() -> awaitable<void> { checked(co_await connect(client_context(folder / "new-board").value()))->close(); });
}

TEST_F(JoinTest, ARefusedInvitationSaysWhyAndKeepsTheOldIdentity) {
  ASSERT_TRUE(authority.write_identity("old-name", folder / "new-board"));
  const auto before = read_whole_file(folder / "new-board/key.pem").value();
  const auto joined = join_at(controller(false), authority.fingerprint());
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message, HasSubstr("this invitation was used"));
  EXPECT_EQ(read_whole_file(folder / "new-board/key.pem").value(), before);
  EXPECT_TRUE(client_context(folder / "new-board"));
}

TEST_F(JoinTest, TheTokenIsNotShownToAnotherAuthority) {
  const auto joined = join_at(controller(true, "foreign-controller"), authority.fingerprint());
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message, HasSubstr(authority.fingerprint()));
  EXPECT_EQ(asked.token(), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "new-board/cert.pem"));
}

TEST_F(JoinTest, AnAnswerWithAnotherAuthorityIsRefused) {
  answered_authority = foreign_authority.certificate_pem();
  const auto joined = join_at(controller(true), authority.fingerprint());
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message, HasSubstr("another authority"));
  EXPECT_FALSE(std::filesystem::exists(folder / "new-board/authority.pem"));
}

TEST_F(JoinTest, AControllerThatIsAwayIsNamed) {
  listener.close();
  const auto joined = join({"127.0.0.1", port(), "t", authority.fingerprint()}, folder / "new-board");
  ASSERT_FALSE(joined);
  EXPECT_THAT(joined.error().message, HasSubstr("no controller there"));
}

}  // namespace
}  // namespace finch::protocol
