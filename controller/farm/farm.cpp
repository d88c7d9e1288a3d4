#include "controller/farm/farm.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <fstream>
#include <thread>

#include "controller/farm/farm_server.hpp"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// Whoever holds the lock serves the home; the kernel lets go of it when the process dies.
class ServeLock {
 public:
  explicit ServeLock(const Home& home) : file_(::open(home.serve_lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    held_ = file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) == 0;
  }
  ServeLock(ServeLock&& other) noexcept : file_(std::exchange(other.file_, -1)), held_(other.held_) {}
  ~ServeLock() {
    if (file_ >= 0) ::close(file_);
  }
  bool held() const { return held_; }

 private:
  int file_;
  bool held_ = false;
};

class RunningFarm : public Farm {
 public:
  RunningFarm(ServeLock lock, Home home, FarmOptions options, FarmStore store)
      : lock_(std::move(lock)), home_(std::move(home)), server_(io_, home_, std::move(options), std::move(store)) {}

  std::expected<void, Error> begin() {
    const auto listening = server_.listen();
    if (!listening) return listening;
    std::ofstream(home_.serve_file()) << std::format("{{\"pid\": {}, \"port\": {}}}\n", ::getpid(), server_.port());
    thread_ = std::thread([this] { io_.run(); });
    return {};
  }

  ~RunningFarm() override {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { server_.stop(); });
    thread_.join();
    std::error_code ignored;
    std::filesystem::remove(home_.serve_file(), ignored);
  }

  std::uint16_t port() const override { return server_.port(); }

 private:
  ServeLock lock_;
  Home home_;
  asio::io_context io_{1};
  FarmServer server_;
  std::thread thread_;
};

}  // namespace

std::expected<std::unique_ptr<Farm>, Error> Farm::start(const Home& home, FarmOptions options) {
  ServeLock lock(home);
  if (!lock.held()) {
    return std::unexpected(
        Error{std::format("{}: another finch serves this home already; use it, or set FINCH_HOME to another folder",
                          home.root.string())});
  }
  const auto authority = protocol::Authority::load_or_create(home.authority());
  if (!authority) return std::unexpected(Error{authority.error().message});
  const auto written = authority->write_identity(protocol::kControllerName, home.workers() / protocol::kControllerName);
  if (!written) return std::unexpected(Error{written.error().message});
  auto store = FarmStore::open(home.farm_db());
  if (!store) return std::unexpected(store.error());
  auto farm = std::make_unique<RunningFarm>(std::move(lock), home, std::move(options), std::move(*store));
  if (const auto begun = farm->begin(); !begun) return std::unexpected(begun.error());
  return farm;
}

std::expected<std::uint16_t, Error> running_farm(const Home& home) {
  if (!ServeLock(home).held()) {
    std::ifstream file(home.serve_file());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    int pid = 0, port = 0;
    if (std::sscanf(text.c_str(), "{\"pid\": %d, \"port\": %d}", &pid, &port) == 2)
      return static_cast<std::uint16_t>(port);
  }
  return std::unexpected(Error{std::format("no farm is served from {}; start one: finch serve", home.root.string())});
}

}  // namespace finch::controller
