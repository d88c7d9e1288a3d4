#include "controller/farm/farm.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <thread>

#include "controller/farm/farm_server.hpp"
#include "controller/farm/serve_lock.hpp"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

// A thousand agents are a thousand descriptors, and many systems give a program no more than 1,024 unasked.
void allow_many_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 16'384));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

class RunningFarm : public Farm {
 public:
  RunningFarm(ServeLock lock, const Home& home, FarmOptions options, FarmStore store)
      : lock_(std::move(lock)), server_(io_, home, std::move(options), std::move(store)) {}

  std::expected<void, Error> begin() {
    if (auto listening = server_.listen(); !listening) return listening;
    if (auto announced = lock_.announce(server_.port()); !announced) return announced;
    thread_ = std::thread([this] { io_.run(); });
    return {};
  }

  ~RunningFarm() override {
    if (!thread_.joinable()) return;
    boost::asio::post(io_, [this] { server_.stop(); });
    thread_.join();
  }

  std::uint16_t port() const override { return server_.port(); }

 private:
  ServeLock lock_;
  boost::asio::io_context io_{1};
  FarmServer server_;
  std::thread thread_;
};

}  // namespace

std::expected<std::unique_ptr<Farm>, Error> Farm::start(const Home& home, FarmOptions options) {
  auto lock = ServeLock::acquire(home);
  if (!lock) return std::unexpected(lock.error());
  const auto identity =
      protocol::Authority::load_or_create(home.authority()).and_then([&](const protocol::Authority& authority) {
        return authority.write_identity(protocol::kControllerName, home.workers() / protocol::kControllerName);
      });
  if (!identity) return std::unexpected(Error{identity.error().message});
  auto store = FarmStore::open(home.farm_db());
  if (!store) return std::unexpected(store.error());
  allow_many_connections();
  auto farm = std::make_unique<RunningFarm>(std::move(*lock), home, std::move(options), std::move(*store));
  if (const auto begun = farm->begin(); !begun) return std::unexpected(begun.error());
  return farm;
}

}  // namespace finch::controller
