// The farm's server: sessions with workers, leases, pauses, artifacts. Lives on one io_context run by one thread; all
// members but port() are called there.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <memory>

#include "controller/farm/farm.hpp"
#include "controller/farm/farm_session.hpp"
#include "controller/farm/farm_store.hpp"
#include "controller/farm/local_workers.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {

class FarmServer {
 public:
  FarmServer(boost::asio::io_context& io, const Home& home, FarmOptions options, FarmStore store);
  // Error: the port is occupied, the address is not one of this machine.
  std::expected<void, Error> listen();
  std::uint16_t port() const { return port_; }
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  // A lease whose worker is away: given to another unless it comes back in time.
  struct Orphan {
    std::uint64_t token;
    Clock::time_point deadline;
    std::string why;
  };

  boost::asio::awaitable<void> accept_for_ever();
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket);
  boost::asio::awaitable<void> heartbeats(std::shared_ptr<FarmSession> session);
  boost::asio::awaitable<void> tend();

  void take(FarmSession& session, std::string_view frame);
  void take_join(FarmSession& session, const protocol::Join& join);
  void take_hello(FarmSession& session, const protocol::Hello& hello);
  void take_result(FarmSession& session, const protocol::ResultReport& report);
  void take_offer(FarmSession& session, const std::string& sha256);
  void take_chunk(FarmSession& session, const protocol::ArtifactChunk& chunk);
  void refuse(FarmSession& session, const std::string& reason, bool final);
  void gone(FarmSession& session, const std::string& why);

  void look_for_jobs();
  void schedule();
  void lease(FarmSession& session, const QueuedJob& job);
  void release_overdue();
  void log(const std::string& line) const;
  // Logs a store's error; true when there was none.
  template <typename T>
  bool good(const std::expected<T, Error>& value) const;

  boost::asio::io_context& io_;
  const Home home_;
  const FarmOptions options_;
  FarmStore store_;
  protocol::ArtifactStore artifacts_;
  std::shared_ptr<boost::asio::ssl::context> context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer timer_;
  std::uint16_t port_ = 0;
  bool stopping_ = false;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, std::shared_ptr<FarmSession>> sessions_;
  std::map<std::string, Orphan> orphans_;  // by job key
  std::vector<QueuedJob> queue_;
  std::int64_t seen_version_ = -2;
  std::unique_ptr<LocalWorkers> local_;
};

}  // namespace finch::controller
