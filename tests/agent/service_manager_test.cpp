#include "agent/service_manager.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

class ServiceManagerTest : public testing::Test {
 protected:
  // systemd's end of the socket. A leading '@' is the zero byte of an abstract name.
  void listen(const std::string& name) {
    listener_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(name, address.sun_path);
    if (name.front() == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    ASSERT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), length), 0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  std::string heard() const {
    std::array<char, 256> buffer{};
    const ssize_t count = recv(listener_, buffer.data(), buffer.size(), 0);
    return count < 0 ? "nothing" : std::string(buffer.data(), static_cast<std::size_t>(count));
  }
  ~ServiceManagerTest() override {
    if (listener_ >= 0) close(listener_);
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
  }
  TemporaryFolder folder_;
  int listener_ = -1;
};

TEST_F(ServiceManagerTest, HearsWhatItIsTold) {
  listen((folder_.path() / "notify").string());
  const ServiceManager manager;
  manager.tell("READY=1");
  EXPECT_EQ(heard(), "READY=1");
  EXPECT_EQ(std::getenv("NOTIFY_SOCKET"), nullptr) << "children must not speak for the service";
  EXPECT_FALSE(manager.watchdog());
}

TEST_F(ServiceManagerTest, HearsOnAnAbstractSocketToo) {
  listen("@finch-test-" + std::to_string(getpid()));
  const ServiceManager manager;
  manager.tell("WATCHDOG=1");
  EXPECT_EQ(heard(), "WATCHDOG=1");
}

TEST_F(ServiceManagerTest, IsNotThereWithoutASocket) {
  const ServiceManager manager;
  manager.tell("READY=1");
  EXPECT_FALSE(manager.watchdog());
}

TEST_F(ServiceManagerTest, WatchesThisProcessAlone) {
  setenv("WATCHDOG_USEC", "60000000", 1);
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(ServiceManager().watchdog(), std::chrono::seconds(60));
  EXPECT_EQ(std::getenv("WATCHDOG_USEC"), nullptr);
  setenv("WATCHDOG_USEC", "60000000", 1);
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager().watchdog());
  setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_FALSE(ServiceManager().watchdog());
}

}  // namespace
}  // namespace finch::agent
