#include "protocol/tls_connection.hpp"

#include <gmock/gmock.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fstream>
#include <vector>

#include "protocol/farm.pb.h"
#include "protocol/openssl_handles.hpp"
#include "wire_fixture.hpp"

namespace finch::protocol {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using testing::HasSubstr;

class TlsConnectionTest : public WireTest {
 protected:
  TlsContext server = make_server_context(folder / "controller").value();
  TlsContext client = make_client_context(folder / "board").value();

  // A client of plain OpenSSL that may break every rule.
  awaitable<void> rude_client(std::string bytes, bool with_certificate = true) {
    asio::ssl::stream<asio::ip::tcp::socket> stream(io, with_certificate ? *client : *make_join_context().value());
    co_await stream.next_layer().async_connect(listener.local_endpoint(), use_awaitable);
    co_await stream.async_handshake(asio::ssl::stream_base::client, use_awaitable);
    boost::system::error_code ignored;  // the server may have had enough already
    co_await asio::async_write(stream, asio::buffer(bytes), asio::redirect_error(use_awaitable, ignored));
    stream.next_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
  // What the server's first read gives after those bytes.
  std::expected<void, WireError> read_after(const std::string& bytes, bool with_certificate = true) {
    std::expected<void, WireError> result;
    ToController message;
    run(rude_client(bytes, with_certificate), [&]() -> awaitable<void> {
      auto connection = co_await accept(server);
      if (!connection) throw std::runtime_error(connection.error().message);
      result = co_await (*connection)->read(message, kPatience);
      EXPECT_EQ((*connection)->is_open(), result.has_value());
    });
    return result;
  }
};

TEST_F(TlsConnectionTest, MutualTls13AndMessagesBothWays) {
  run(
      [&]() -> awaitable<void> {
        auto connection = co_await accept(server);
        if (!connection) throw std::runtime_error(connection.error().message);
        EXPECT_EQ((*connection)->peer_name(), "board");
        EXPECT_EQ((*connection)->tls_version(), "TLSv1.3");
        ToController hello;
        EXPECT_TRUE(co_await (*connection)->read(hello, kPatience));
        EXPECT_EQ(hello.hello().host(), "here");
        ToWorker welcome;
        welcome.mutable_welcome()->set_heartbeat_seconds(7);
        EXPECT_TRUE(co_await (*connection)->write(welcome, kPatience));
        co_await (*connection)->finish(kPatience);
      },
      [&]() -> awaitable<void> {
        auto connection = co_await connect(client);
        if (!connection) throw std::runtime_error(connection.error().message);
        EXPECT_EQ((*connection)->peer_name(), kControllerName);
        EXPECT_EQ((*connection)->tls_version(), "TLSv1.3");
        ToController hello;
        hello.mutable_hello()->set_host("here");
        EXPECT_TRUE(co_await (*connection)->write(hello, kPatience));
        ToWorker answer;
        EXPECT_TRUE(co_await (*connection)->read(answer, kPatience));
        EXPECT_EQ(answer.welcome().heartbeat_seconds(), 7u);
        const auto end = co_await (*connection)->read(answer, kPatience);
        EXPECT_EQ(end ? WireError::Kind::invalid : end.error().kind, WireError::Kind::closed);
      });
}

TEST_F(TlsConnectionTest, OlderTlsIsRefused) {
  asio::ssl::context old(asio::ssl::context::tlsv12_client);
  boost::system::error_code client_error;
  std::expected<Connection, WireError> accepted;
  run([&]() -> awaitable<void> { accepted = co_await accept(server); },
      [&]() -> awaitable<void> {
        asio::ssl::stream<asio::ip::tcp::socket> stream(io, old);
        co_await stream.next_layer().async_connect(listener.local_endpoint(), use_awaitable);
        co_await stream.async_handshake(asio::ssl::stream_base::client,
                                        asio::redirect_error(use_awaitable, client_error));
      });
  EXPECT_TRUE(client_error);
  EXPECT_FALSE(accepted);
}

TEST_F(TlsConnectionTest, AForeignClientIsRefusedAndLearnsWhy) {
  std::expected<Connection, WireError> accepted;
  std::expected<void, WireError> heard;
  // It trusts our controller, but its certificate is of another authority.
  std::filesystem::copy_file(folder / "board/authority.pem", folder / "foreign-board/authority.pem",
                             std::filesystem::copy_options::overwrite_existing);
  const TlsContext foreign = make_client_context(folder / "foreign-board").value();
  run([&]() -> awaitable<void> { accepted = co_await accept(server); },
      [&]() -> awaitable<void> {
        auto connection = co_await connect(foreign);
        if (!connection) throw std::runtime_error(connection.error().message);
        ToController hello;
        hello.mutable_hello()->set_host("here");
        (void)co_await (*connection)->write(hello, kPatience);
        ToWorker answer;
        heard = co_await (*connection)->read(answer, kPatience);
      });
  ASSERT_FALSE(accepted);
  EXPECT_EQ(accepted.error().kind, WireError::Kind::certificate);
  ASSERT_FALSE(heard);
  EXPECT_EQ(heard.error().kind, WireError::Kind::certificate) << heard.error().message;
  EXPECT_THAT(heard.error().message, HasSubstr("does not accept our certificate"));
}

TEST_F(TlsConnectionTest, AForeignControllerIsRefused) {
  std::expected<Connection, WireError> connected;
  run(
      [&]() -> awaitable<void> {
        const auto refused = co_await accept(make_server_context(folder / "foreign-controller").value());
        EXPECT_FALSE(refused);
      },
      [&]() -> awaitable<void> { connected = co_await connect(client); });
  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().kind, WireError::Kind::certificate);
  EXPECT_THAT(connected.error().message, HasSubstr("another authority"));
}

TEST_F(TlsConnectionTest, AWorkerCannotPoseAsTheController) {
  const auto refused = make_server_context(folder / "board");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("no controller's certificate"));

  asio::ssl::context posing(asio::ssl::context::tlsv13_server);
  posing.use_certificate_chain_file((folder / "board/cert.pem").string());
  posing.use_private_key_file((folder / "board/key.pem").string(), asio::ssl::context::pem);
  std::expected<Connection, WireError> connected;
  run(
      [&]() -> awaitable<void> {
        auto socket = co_await listener.async_accept(use_awaitable);
        asio::ssl::stream<asio::ip::tcp::socket> stream(std::move(socket), posing);
        boost::system::error_code error;
        co_await stream.async_handshake(asio::ssl::stream_base::server, asio::redirect_error(use_awaitable, error));
      },
      [&]() -> awaitable<void> { connected = co_await connect(client); });
  ASSERT_FALSE(connected);
  EXPECT_EQ(connected.error().kind, WireError::Kind::certificate);
}

TEST_F(TlsConnectionTest, WithoutACertificateThePeerHasNoNameAndOnlySmallFrames) {
  Join join;
  run(
      [&]() -> awaitable<void> {
        auto connection = co_await accept(server);
        if (!connection) throw std::runtime_error(connection.error().message);
        EXPECT_EQ((*connection)->peer_name(), "");
        EXPECT_TRUE(co_await (*connection)->read(join, kPatience));
      },
      [&]() -> awaitable<void> {
        auto connection = co_await connect(make_join_context().value());
        if (!connection) throw std::runtime_error(connection.error().message);
        EXPECT_EQ((*connection)->verify_pinned_authority(authority().fingerprint()), authority().certificate_pem());
        EXPECT_FALSE((*connection)->verify_pinned_authority(foreign_authority().fingerprint()));
        Join message;
        message.set_token("secret");
        EXPECT_TRUE(co_await (*connection)->write(message, kPatience));
      });
  EXPECT_EQ(join.token(), "secret");

  const auto oversized = read_after(std::string{0, 1, 0, 1} + std::string(65537, 'x'), false);
  ASSERT_FALSE(oversized);
  EXPECT_EQ(oversized.error().kind, WireError::Kind::invalid);
}

TEST_F(TlsConnectionTest, FramesBeyondTheLimitTruncatedFramesAndGarbageEndTheConnection) {
  const auto oversized = read_after({'\x7f', '\xff', '\xff', '\xff'});
  ASSERT_FALSE(oversized);
  EXPECT_EQ(oversized.error().kind, WireError::Kind::invalid);
  EXPECT_THAT(oversized.error().message, HasSubstr("2147483647"));

  const auto half_header = read_after({0, 0});
  ASSERT_FALSE(half_header);
  EXPECT_EQ(half_header.error().kind, WireError::Kind::closed);

  const auto truncated = read_after(std::string({0, 0, 0, 9}) + "short");
  ASSERT_FALSE(truncated);
  EXPECT_EQ(truncated.error().kind, WireError::Kind::closed);

  const auto garbage = read_after(std::string({0, 0, 0, 4}) + "\xff\xff\xff\xff");
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().kind, WireError::Kind::invalid);
}

TEST_F(TlsConnectionTest, ASilentPeerRunsIntoTheDeadline) {
  asio::steady_timer quiet(io, asio::steady_timer::time_point::max());
  run(
      [&]() -> awaitable<void> {
        auto connection = co_await accept(server);
        if (!connection) throw std::runtime_error(connection.error().message);
        ToController message;
        const auto result = co_await (*connection)->read(message, std::chrono::milliseconds(20));
        EXPECT_EQ(result ? WireError::Kind::invalid : result.error().kind, WireError::Kind::timeout);
        EXPECT_FALSE((*connection)->is_open());
        quiet.cancel();
      },
      [&]() -> awaitable<void> {
        auto connection = co_await connect(client);
        boost::system::error_code ignored;
        co_await quiet.async_wait(asio::redirect_error(use_awaitable, ignored));
      });
}

TEST_F(TlsConnectionTest, NobodyListening) {
  std::expected<Connection, WireError> refused;
  run([&]() -> awaitable<void> {
    const std::uint16_t closed_port = port();
    listener.close();
    refused = co_await TlsConnection::connect(client, "127.0.0.1", closed_port, kPatience);
  });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, WireError::Kind::closed);
  EXPECT_THAT(refused.error().message, HasSubstr("not reachable"));
}

TEST_F(TlsConnectionTest, ManyWritersKeepFramesWholeAndInOrder) {
  constexpr int kWriters = 8, kEach = 20;
  std::vector<std::int64_t> next(kWriters, 0);
  run(
      [&]() -> awaitable<void> {
        auto connection = co_await accept(server);
        if (!connection) throw std::runtime_error(connection.error().message);
        for (int i = 0; i < kWriters * kEach; ++i) {
          ToController message;
          const auto got = co_await (*connection)->read(message, kPatience);
          if (!got) throw std::runtime_error(got.error().message);
          const ArtifactChunk& chunk = message.artifact_chunk();
          const auto writer = static_cast<std::size_t>(chunk.total_bytes());
          EXPECT_EQ(chunk.offset(), next.at(writer)++);
          EXPECT_EQ(chunk.data(), std::string(50'000, static_cast<char>('a' + writer)));
        }
      },
      [&]() -> awaitable<void> {
        auto connection = co_await connect(client);
        if (!connection) throw std::runtime_error(connection.error().message);
        for (int writer = 0; writer < kWriters; ++writer) {
          asio::co_spawn(
              io,
              [](Connection shared, int number) -> awaitable<void> {
                for (int i = 0; i < kEach; ++i) {
                  ToController message;
                  auto& chunk = *message.mutable_artifact_chunk();
                  chunk.set_offset(i);
                  chunk.set_total_bytes(number);
                  chunk.set_data(std::string(50'000, static_cast<char>('a' + number)));
                  EXPECT_TRUE(co_await shared->write(message, kPatience));
                }
              }(*connection, writer),
              asio::detached);
        }
      });
  EXPECT_EQ(next, std::vector<std::int64_t>(kWriters, kEach));
}

TEST_F(TlsConnectionTest, ADamagedIdentityIsNamed) {
  std::ofstream(folder / "board/cert.pem") << "damaged";
  const auto damaged = make_client_context(folder / "board");
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().message, HasSubstr("board/cert.pem"));
  std::filesystem::remove(folder / "controller/key.pem");
  const auto missing = make_server_context(folder / "controller");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("controller/key.pem"));
}

}  // namespace
}  // namespace finch::protocol
