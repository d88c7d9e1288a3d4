// Both ends of the wire in one test process: a loopback listener, an authority with identities, and coroutines run to
// their end on one thread. Not thread safe.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "protocol/identity.hpp"
#include "protocol/tls_connection.hpp"
#include "temporary_folder.hpp"

namespace finch::protocol {

class WireTest : public testing::Test {
 protected:
  using Connection = std::shared_ptr<TlsConnection>;
  static constexpr std::chrono::seconds kPatience{20};

  WireTest() {
    EXPECT_TRUE(authority().write_identity(std::string(kControllerName), folder / "controller"));
    EXPECT_TRUE(authority().write_identity("board", folder / "board"));
    EXPECT_TRUE(foreign_authority().write_identity("board", folder / "foreign-board"));
    EXPECT_TRUE(foreign_authority().write_identity(std::string(kControllerName), folder / "foreign-controller"));
  }

  Authority authority() const { return Authority::load_or_create(folder / "authority").value(); }
  Authority foreign_authority() const { return Authority::load_or_create(folder / "foreign-authority").value(); }
  std::uint16_t port() const { return listener.local_endpoint().port(); }

  TlsConnection::Awaitable<Connection> accept(TlsContext context) {
    auto socket = co_await listener.async_accept(boost::asio::use_awaitable);
    co_return co_await TlsConnection::accept(std::move(context), std::move(socket), kPatience);
  }
  TlsConnection::Awaitable<Connection> connect(TlsContext context) {
    return TlsConnection::connect(std::move(context), "127.0.0.1", port(), kPatience);
  }
  // Runs all to their end; exceptions come out here.
  template <class... Coroutines>
  void run(Coroutines... coroutines) {
    (boost::asio::co_spawn(io, std::move(coroutines),
                           [](std::exception_ptr failure) {
                             if (failure) std::rethrow_exception(failure);
                           }),
     ...);
    io.restart();
    io.run();
  }

  TemporaryFolder folder;
  boost::asio::io_context io{1};
  boost::asio::ip::tcp::acceptor listener{io, {boost::asio::ip::address_v4::loopback(), 0}};
};

}  // namespace finch::protocol
