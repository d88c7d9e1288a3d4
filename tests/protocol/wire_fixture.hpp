// Both ends of the wire in one test: a loopback listener and an authority with identities. Not thread safe.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "protocol/tls_connection.hpp"
#include "temporary_folder.hpp"

namespace finch::protocol {

using ConnectionPtr = std::shared_ptr<Connection>;
using Context = std::shared_ptr<asio::ssl::context>;

class WireTest : public testing::Test {
 protected:
  WireTest() {
    EXPECT_TRUE(authority.write_identity(kControllerName, folder / "controller"));
    EXPECT_TRUE(authority.write_identity("board", folder / "board"));
    EXPECT_TRUE(foreign_authority.write_identity("board", folder / "foreign-board"));
    EXPECT_TRUE(foreign_authority.write_identity(kControllerName, folder / "foreign-controller"));
  }

  std::uint16_t port() const { return listener.local_endpoint().port(); }

  asio::awaitable<std::expected<ConnectionPtr, Error>> accept(Context context,
                                                              std::chrono::milliseconds silence = kSilence) {
    auto socket = co_await listener.async_accept(asio::use_awaitable);
    auto connection = std::make_shared<Connection>(std::move(socket), std::move(context), silence);
    if (auto shaken = co_await connection->handshake(true); !shaken) co_return std::unexpected(shaken.error());
    co_return connection;
  }
  asio::awaitable<std::expected<ConnectionPtr, Error>> connect(Context context) {
    return Connection::connect("127.0.0.1", port(), std::move(context));
  }
  // Runs all to their end; exceptions come out here.
  template <class... Coroutines>
  void run(Coroutines... coroutines) {
    (asio::co_spawn(io, std::move(coroutines),
                    [](std::exception_ptr failure) {
                      if (failure) std::rethrow_exception(failure);
                    }),
     ...);
    io.restart();
    io.run();
  }

  TemporaryFolder folder;
  Authority authority = Authority::load_or_create(folder / "authority").value();
  Authority foreign_authority = Authority::load_or_create(folder / "foreign-authority").value();
  asio::io_context io{1};
  asio::ip::tcp::acceptor listener{io, {asio::ip::address_v4::loopback(), 0}};
};

// The connection, or the reason why there is none as an exception that fails the test.
inline ConnectionPtr checked(std::expected<ConnectionPtr, Error> connection) {
  if (!connection) throw std::runtime_error(connection.error().message);
  return *connection;
}

}  // namespace finch::protocol
