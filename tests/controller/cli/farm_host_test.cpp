#include "controller/cli/farm_host.hpp"

#include <gmock/gmock.h>

#include <chrono>
#include <thread>

#include "controller/farm/serve_lock.hpp"
#include "tests/protocol/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::Contains;
using testing::HasSubstr;

template <typename Condition>
void wait_until(Condition&& condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

class FarmHostTest : public testing::Test {
 protected:
  FarmHostTest() {
    for (const auto& part : {home_.root, home_.artifacts(), home_.workers(), home_.logs()})
      std::filesystem::create_directories(part);
  }
  std::expected<std::unique_ptr<Farm>, Error> serve() {
    return Farm::start(home_, {.local_workers = false, .log = {}});
  }
  protocol::TemporaryFolder folder_;
  Home home_{folder_.path() / "home"};
};

TEST_F(FarmHostTest, ServesWhileNobodyElseDoes) {
  EXPECT_FALSE(running_farm(home_));
  {
    const auto host = FarmHost::start(home_, "local");
    ASSERT_TRUE(host) << host.error().message;
    EXPECT_TRUE(running_farm(home_));
  }
  EXPECT_FALSE(running_farm(home_));
}

TEST_F(FarmHostTest, UsesAFarmThatIsServedAndTakesOverWhenItEnds) {
  auto other = serve();
  ASSERT_TRUE(other) << other.error().message;
  const auto host = FarmHost::start(home_, "local");
  ASSERT_TRUE(host);
  EXPECT_EQ(running_farm(home_).value(), (*other)->port());
  other->reset();
  wait_until([&] { return running_farm(home_).has_value(); });
}

TEST_F(FarmHostTest, MakesRoomForAFinchServeAndTakesOverAfterIt) {
  const auto host = FarmHost::start(home_, "local");
  ASSERT_TRUE(host);
  const auto own = running_farm(home_).value();
  {
    auto claim = ServeClaim::make(home_);
    ASSERT_TRUE(claim);
    EXPECT_FALSE(ServeClaim::make(home_)) << "two finch serve";
    wait_until([&] { return !running_farm(home_); });
    EXPECT_THAT((*host)->take_log(), Contains(HasSubstr("finch serve takes the farm over")));
    const auto server = serve();
    ASSERT_TRUE(server) << server.error().message;
    EXPECT_NE((*server)->port(), own);
  }
  wait_until([&] { return running_farm(home_).has_value(); });
}

}  // namespace
}  // namespace finch::controller
