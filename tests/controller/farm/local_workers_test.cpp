#include "controller/farm/local_workers.hpp"

#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class LocalWorkersTest : public testing::Test {
 protected:
  LocalWorkersTest() {
    for (const auto& part : {home_.workers(), home_.logs(), programs()}) std::filesystem::create_directories(part);
  }

  std::filesystem::path programs() const { return folder_.path() / "bin"; }
  void write_program(const std::string& name, const std::string& script) {
    const auto path = programs() / name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
  std::unique_ptr<LocalWorkers> workers() {
    return std::make_unique<LocalWorkers>(
        home_, LocalWorkers::Options{.controller = "127.0.0.1:1234",
                                     .profile = "board",
                                     .programs = programs(),
                                     .log = [this](const std::string& line) { log_.push_back(line); },
                                     .root = folder_.path() / "root"});
  }
  // Tends until the file is there.
  void wait_for(LocalWorkers& local, LocalWorkers::Need need, const std::filesystem::path& file) {
    while (!std::filesystem::exists(file)) {
      EXPECT_THAT(local.tend(need), IsEmpty());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  static std::string text_of(const std::filesystem::path& file) {
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  TemporaryFolder folder_;
  Home home_{folder_.path() / "home"};
  std::vector<std::string> log_;
};

TEST_F(LocalWorkersTest, StartsAsManyTrainersAsTheGpuHasRoomFor) {
  const auto pci = folder_.path() / "root/sys/bus/pci/devices/0000:01:00.0";
  std::filesystem::create_directories(pci);
  std::ofstream(pci / "vendor") << "0x10de\n";
  std::ofstream(pci / "class") << "0x030200\n";
  write_program("nvidia-smi", "echo 17000");
  const auto started = folder_.path() / "started";
  std::filesystem::create_directories(started);
  // Its state folder bears its name.
  write_program("finch-trainer", "[ \"$1\" = devices ] && { echo cuda:0; exit; }; touch " + started.string() +
                                     "/$(basename \"$4\"); exec sleep 1000");
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", (programs().string() + ":" + path).c_str(), 1);
  const auto local = workers();
  const bool several = std::thread::hardware_concurrency() > 1;
  wait_for(*local, {.trainer = true}, started / (several ? "local-trainer-2" : "local-trainer"));
  for (int i = 0; i < 20; ++i) {
    local->tend({});
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(started), {}), several ? 2 : 1);
  EXPECT_THAT(log_, testing::Contains(HasSubstr(several ? "2 networks at once" : "1 network at once")));
}

TEST_F(LocalWorkersTest, StartsWhatIsNeededWithItsIdentity) {
  const auto ready = folder_.path() / "ready";
  write_program("finch-agent", "echo \"$@\" > " + ready.string() + ".new; mv " + ready.string() + ".new " +
                                   ready.string() + "; echo hello; exec sleep 1000");
  const auto local = workers();
  wait_for(*local, {.agent = true}, ready);
  const auto state = home_.workers() / "local-agent";
  EXPECT_EQ(text_of(ready), "--controller 127.0.0.1:1234 --state " + state.string() +
                                " --die-with-parent --name local --profile board\n");
  for (const char* file : {"cert.pem", "key.pem", "authority.pem"}) {
    EXPECT_TRUE(std::filesystem::exists(state / file)) << file;
  }
  EXPECT_TRUE(std::filesystem::exists(home_.logs() / "local-agent.log"));
  EXPECT_FALSE(std::filesystem::exists(home_.workers() / "local-trainer")) << "nobody needs a trainer";
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(LocalWorkersTest, EndsWhatItStarted) {
  const auto ready = folder_.path() / "ready";
  const auto ended = folder_.path() / "ended";
  write_program("finch-trainer", "trap 'echo > " + ended.string() + "; exit' TERM; echo > " + ready.string() +
                                     "; while :; do sleep 0.01; done");
  auto local = workers();
  wait_for(*local, {.trainer = true}, ready);
  local.reset();
  EXPECT_TRUE(std::filesystem::exists(ended));
}

TEST_F(LocalWorkersTest, StartsAgainWhatHasCrashed) {
  const auto times = folder_.path() / "times";
  const auto twice = folder_.path() / "twice";
  write_program("finch-agent", "if [ -e " + times.string() + " ]; then echo > " + twice.string() +
                                   "; exec sleep 1000; fi; echo > " + times.string() + "; kill -9 $$");
  const auto local = workers();
  wait_for(*local, {.agent = true}, twice);
  ASSERT_THAT(log_, SizeIs(1));
  EXPECT_THAT(log_[0], AllOf(HasSubstr("finch-agent was killed"), HasSubstr("local-agent.log")));
}

TEST_F(LocalWorkersTest, SaysWhyAWorkerDoesNotStart) {
  write_program("finch-trainer", "echo starting; echo 'no such library: libtorch.so' >&2; exit 7");
  const auto local = workers();
  std::vector<LocalWorkers::Failure> failures;
  while (failures.empty()) {
    failures = local->tend({.trainer = true});
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_THAT(failures, SizeIs(1));
  EXPECT_EQ(failures[0].worker, LocalWorkers::Kind::trainer);
  EXPECT_THAT(failures[0].why, AllOf(HasSubstr("3 times"), HasSubstr("exit status 7"),
                                     HasSubstr("no such library: libtorch.so"), HasSubstr("local-trainer.log")));
  EXPECT_EQ(log_.back(), failures[0].why);
}

TEST_F(LocalWorkersTest, SaysWhatIsMissing) {
  const auto local = workers();
  const auto failures = local->tend({.agent = true, .trainer = true});
  ASSERT_THAT(failures, SizeIs(2));
  EXPECT_THAT(failures[0].why, AllOf(HasSubstr((programs() / "finch-agent").string()), HasSubstr("missing")));
  EXPECT_THAT(local->tend({}), IsEmpty()) << "nobody needs it any more";
}

}  // namespace
}  // namespace finch::controller
