#include "protocol/tls_connection.hpp"

#include <gmock/gmock.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <fstream>
#include <vector>

#include "protocol/farm.pb.h"
#include "wire_fixture.hpp"

namespace finch::protocol {
namespace {

using asio::awaitable;
using asio::use_awaitable;
using testing::HasSubstr;

class TlsConnectionTest : public WireTest {
 protected:
  Context server = server_context(folder / "controller").value();
  Context client = client_context(folder / "board").value();

  // A client of plain Asio that may break every rule.
  awaitable<void> rude_client(std::string bytes, Context context) {
    asio::ssl::stream<asio::ip::tcp::socket> stream(io, *context);
    co_await stream.next_layer().async_connect(listener.local_endpoint(), use_awaitable);
    co_await stream.async_handshake(asio::ssl::stream_base::client, use_awaitable);
    boost::system::error_code ignored;  // the server may have had enough already
    co_await asio::async_write(stream, asio::buffer(bytes), asio::redirect_error(use_awaitable, ignored));
    stream.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
  // Why the server ended the connection after those bytes, and how many frames it took before.
  std::pair<std::string, int> end_after(const std::string& bytes, Context context) {
    std::pair<std::string, int> end;
    run(rude_client(bytes, std::move(context)), [&]() -> awaitable<void> {
      const auto connection = checked(co_await accept(server));
      end.first = co_await connection->read_frames([&](std::string_view) { ++end.second; });
    });
    return end;
  }
  static std::string chunk_frame(std::size_t bytes) {
    ToController message;
    message.mutable_artifact_chunk()->set_data(std::string(bytes, 'x'));
    return encode_frame(message).value();
  }
};

TEST_F(TlsConnectionTest, MutualTls13AndMessagesBothWays) {
  run(
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await accept(server));
        EXPECT_EQ(connection->peer_name(), "board");
        EXPECT_EQ(connection->tls_version(), "TLSv1.3");
        co_await connection->read_frames([&](std::string_view frame) {
          ToController hello;
          ASSERT_TRUE(decode_frame_body(frame, hello));
          EXPECT_EQ(hello.hello().host(), "here");
          ToWorker welcome;
          welcome.mutable_welcome()->set_heartbeat_seconds(7);
          connection->send(welcome);
          connection->close();
        });
      },
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await connect(client));
        EXPECT_EQ(connection->peer_name(), kControllerName);
        EXPECT_EQ(connection->tls_version(), "TLSv1.3");
        ToController hello;
        hello.mutable_hello()->set_host("here");
        connection->send(hello);
        ToWorker answer;
        const std::string why = co_await connection->read_frames(
            [&](std::string_view frame) { EXPECT_TRUE(decode_frame_body(frame, answer)); });
        EXPECT_EQ(answer.welcome().heartbeat_seconds(), 7u) << "what was sent before close() must arrive";
        EXPECT_EQ(why, "the other side closed the connection");
      });
}

TEST_F(TlsConnectionTest, OlderTlsIsRefused) {
  const auto old = std::make_shared<asio::ssl::context>(asio::ssl::context::tlsv12_client);
  std::expected<ConnectionPtr, Error> accepted;
  EXPECT_THROW(run([&]() -> awaitable<void> { accepted = co_await accept(server); }, rude_client("", old)),
               boost::system::system_error);
  io.restart();
  io.run();
  EXPECT_FALSE(accepted);
}

TEST_F(TlsConnectionTest, AForeignClientIsRefusedAndLearnsWhy) {
  // It trusts our controller, but its certificate is of another authority.
  std::filesystem::copy_file(folder / "board/authority.pem", folder / "foreign-board/authority.pem",
                             std::filesystem::copy_options::overwrite_existing);
  const Context foreign = client_context(folder / "foreign-board").value();
  std::expected<ConnectionPtr, Error> accepted;
  std::string heard;
  run([&]() -> awaitable<void> { accepted = co_await accept(server); },
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await connect(foreign));
        ToController hello;
        hello.mutable_hello()->set_host("here");
        connection->send(hello);
        heard = co_await connection->read_frames([](std::string_view) {});
      });
  ASSERT_FALSE(accepted);
  EXPECT_THAT(accepted.error().message, HasSubstr("another authority"));
  EXPECT_THAT(heard, HasSubstr("does not accept this certificate"));
}

TEST_F(TlsConnectionTest, AForeignControllerIsRefused) {
  std::expected<ConnectionPtr, Error> connected;
  run(
      [&]() -> awaitable<void> {
        EXPECT_FALSE(co_await accept(server_context(folder / "foreign-controller").value()));
      },
      [&]() -> awaitable<void> { connected = co_await connect(client); });
  ASSERT_FALSE(connected);
  EXPECT_THAT(connected.error().message, HasSubstr("another authority"));
}

TEST_F(TlsConnectionTest, ADeviceCannotPoseAsTheController) {
  const auto refused = server_context(folder / "board");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("not the controller's certificate"));

  const auto posing = std::make_shared<asio::ssl::context>(asio::ssl::context::tlsv13_server);
  std::ofstream(folder / "chain.pem") << std::ifstream(folder / "board/cert.pem").rdbuf()
                                      << authority.certificate_pem();
  posing->use_certificate_chain_file((folder / "chain.pem").string());
  posing->use_private_key_file((folder / "board/key.pem").string(), asio::ssl::context::pem);
  for (const Context& victim : {client, pinned_context(authority.fingerprint()).value()}) {
    std::expected<ConnectionPtr, Error> connected;
    run([&]() -> awaitable<void> { EXPECT_FALSE(co_await accept(posing)); },
        [&]() -> awaitable<void> { connected = co_await connect(victim); });
    EXPECT_FALSE(connected);
  }
}

TEST_F(TlsConnectionTest, WithoutACertificateThePeerHasNoNameAndOnlySmallFrames) {
  const Context joining = pinned_context(authority.fingerprint()).value();
  ToController got;
  run(
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await accept(server));
        EXPECT_EQ(connection->peer_name(), "");
        co_await connection->read_frames([&](std::string_view frame) { EXPECT_TRUE(decode_frame_body(frame, got)); });
      },
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await connect(joining));
        ToController message;
        message.mutable_join()->set_token("secret");
        connection->send(message);
        connection->close();
      });
  EXPECT_EQ(got.join().token(), "secret");

  EXPECT_EQ(end_after(chunk_frame(60'000), joining).second, 1);
  const auto [why, frames] = end_after(chunk_frame(70'000), joining);
  EXPECT_EQ(frames, 0);
  EXPECT_THAT(why, HasSubstr("65536 are allowed"));
  EXPECT_EQ(end_after(chunk_frame(70'000), client).second, 1);
}

TEST_F(TlsConnectionTest, APinnedFingerprintOfAnotherAuthorityIsRefused) {
  std::expected<ConnectionPtr, Error> connected;
  run([&]() -> awaitable<void> { EXPECT_FALSE(co_await accept(server)); },
      [&]() -> awaitable<void> {
        connected = co_await connect(pinned_context(foreign_authority.fingerprint()).value());
      });
  EXPECT_FALSE(connected);
}

TEST_F(TlsConnectionTest, OversizedAndTruncatedFramesEndTheConnection) {
  EXPECT_THAT(end_after("\x7f\xff\xff\xff", client).first, HasSubstr("2147483647"));
  EXPECT_THAT(end_after("GET / HTTP/1.1\r\n\r\n", client).first, HasSubstr("are allowed"));
  for (const std::string& bytes : {std::string(2, '\0'), std::string({0, 0, 0, 9}) + "short"}) {
    const auto [why, frames] = end_after(bytes, client);
    EXPECT_EQ(why, "the other side closed the connection");
    EXPECT_EQ(frames, 0);
  }
  const auto [why, frames] = end_after(chunk_frame(10) + chunk_frame(kMaxFrameBytes - 64) + "x", client);
  EXPECT_EQ(frames, 2);
}

TEST_F(TlsConnectionTest, AMessageTooLargeToSendEndsTheConnectionAndIsNamed) {
  std::string why;
  run([&]() -> awaitable<void> { co_await checked(co_await accept(server))->read_frames([](std::string_view) {}); },
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await connect(client));
        ToController message;
        message.mutable_artifact_chunk()->set_data(std::string(kMaxFrameBytes, 'x'));
        connection->send(message);
        why = co_await connection->read_frames([](std::string_view) {});
      });
  EXPECT_THAT(why, HasSubstr("larger than"));
}

TEST_F(TlsConnectionTest, ASilentPeerIsGivenUp) {
  std::string why;
  run(
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await accept(server, std::chrono::milliseconds(80)));
        why = co_await connection->read_frames([](std::string_view) {});
      },
      [&]() -> awaitable<void> { co_await checked(co_await connect(client))->read_frames([](std::string_view) {}); });
  EXPECT_EQ(why, "nothing heard for 0.08 seconds");
}

TEST_F(TlsConnectionTest, AMessageThatThrowsEndsTheConnection) {
  std::string why;
  run(
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await accept(server));
        why = co_await connection->read_frames([](std::string_view) { throw std::runtime_error("bad weather"); });
      },
      rude_client(chunk_frame(1), client));
  EXPECT_THAT(why, HasSubstr("bad weather"));
}

TEST_F(TlsConnectionTest, NobodyListening) {
  const std::uint16_t closed_port = port();
  listener.close();
  std::expected<ConnectionPtr, Error> refused;
  run([&]() -> awaitable<void> { refused = co_await Connection::connect("127.0.0.1", closed_port, client); });
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("no controller there"));
}

TEST_F(TlsConnectionTest, ManyLargeMessagesArriveWholeAndInOrder) {
  constexpr int kMessages = 60;
  int next = 0;
  run(
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await accept(server));
        co_await connection->read_frames([&](std::string_view frame) {
          ToController message;
          ASSERT_TRUE(decode_frame_body(frame, message));
          EXPECT_EQ(message.artifact_chunk().offset(), next++);
          EXPECT_EQ(message.artifact_chunk().data().size(), kChunkBytes);
        });
      },
      [&]() -> awaitable<void> {
        const auto connection = checked(co_await connect(client));
        for (int i = 0; i < kMessages; ++i) {
          ToController message;
          message.mutable_artifact_chunk()->set_offset(i);
          message.mutable_artifact_chunk()->set_data(std::string(kChunkBytes, 'x'));
          connection->send(message);
        }
        connection->close();
        co_await connection->read_frames([](std::string_view) {});
      });
  EXPECT_EQ(next, kMessages);
}

TEST_F(TlsConnectionTest, ADamagedIdentityIsNamed) {
  std::ofstream(folder / "board/cert.pem") << "damaged";
  const auto damaged = client_context(folder / "board");
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().message, HasSubstr("board/cert.pem"));
  std::filesystem::remove(folder / "controller/key.pem");
  const auto missing = server_context(folder / "controller");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("controller/key.pem"));
}

}  // namespace
}  // namespace finch::protocol
