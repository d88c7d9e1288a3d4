// The farm's network side: accepts connections, lets workers in or turns them away, moves artifacts, and hands all
// else to the Dispatcher. Lives on one io_context run by one thread; all members but port() are called there.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "controller/farm/dispatcher.hpp"
#include "controller/farm/farm.hpp"
#include "controller/farm/farm_store.hpp"
#include "controller/farm/local_workers.hpp"
#include "controller/farm/patience.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/tls_connection.hpp"

namespace finch::controller {

class FarmServer {
 public:
  FarmServer(boost::asio::io_context& io, const Home& home, FarmOptions options, FarmStore store);
  // Error: the port is occupied, the address is not one of this machine, the controller's identity is damaged.
  std::expected<void, Error> listen();
  std::uint16_t port() const { return port_; }
  // Ends the local workers and all connections; then the io_context runs out of work.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;

  struct Session {
    std::uint64_t id = 0;
    std::shared_ptr<protocol::Connection> connection;
    std::string address;
    std::string name;  // of its certificate; empty: may only join
    bool welcomed = false;
    Clock::time_point last_heard;
    std::unique_ptr<boost::asio::steady_timer> heartbeat;
  };

  boost::asio::awaitable<void> accept_for_ever();
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket);
  boost::asio::awaitable<void> heartbeats(std::shared_ptr<Session> session);
  boost::asio::awaitable<void> tend();

  void take(Session& session, std::string_view frame);
  void take_join(Session& session, const protocol::Join& join);
  void take_hello(Session& session, const protocol::Hello& hello);
  std::optional<protocol::Refused> objection(const Session& session, const protocol::Hello& hello);
  void send_chunk(Session& session, const protocol::ArtifactWanted& wanted);
  void take_offer(Session& session, const std::string& sha256);
  void take_chunk(Session& session, const protocol::ArtifactChunk& chunk);
  void refuse(Session& session, const std::string& reason, bool final);
  void part(Session& session, const std::string& why);
  void turn_away_forgotten();
  void tend_local_workers();
  bool is_local(const std::string& name) const;

  void log(const std::string& line) const;
  // For what a stranger may cause again and again: each line once in a while.
  void log_once(const std::string& line);

  boost::asio::io_context& io_;
  const Home home_;
  const FarmOptions options_;
  FarmStore store_;
  protocol::ArtifactStore artifacts_;
  Dispatcher dispatcher_;
  std::shared_ptr<boost::asio::ssl::context> context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer timer_, last_call_;
  Patience patience_;
  std::uint16_t port_ = 0;
  bool stopping_ = false;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, std::shared_ptr<Session>> sessions_;
  std::map<std::string, std::shared_ptr<Session>> workers_;  // the welcomed ones, by name
  std::map<std::string, Clock::time_point> logged_;
  std::unique_ptr<LocalWorkers> local_;
};

}  // namespace finch::controller
