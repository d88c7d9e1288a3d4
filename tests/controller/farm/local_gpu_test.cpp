#include "controller/farm/local_gpu.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <thread>

#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

class LocalGpuTest : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) const {
    const auto file = folder_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void add_device(const std::string& address, const std::string& vendor, const std::string& kind) const {
    write("sys/bus/pci/devices/" + address + "/vendor", vendor + "\n");
    write("sys/bus/pci/devices/" + address + "/class", kind + "\n");
  }
  // A trainer that lists these devices.
  std::filesystem::path trainer(const std::string& devices) const {
    write("finch-trainer", "#!/bin/sh\n[ \"$1\" = devices ] && printf '" + devices + "'\n");
    const auto path = folder_.path() / "finch-trainer";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }

  TemporaryFolder folder_;
};

TEST_F(LocalGpuTest, FindsNoneAmongOtherDevices) {
  EXPECT_FALSE(find_local_gpu(trainer("cpu\\n"), folder_.path()));
  add_device("0000:00:02.0", "0x8086", "0x030000");  // another vendor's
  add_device("0000:01:00.1", "0x10de", "0x040300");  // a GPU's sound
  EXPECT_FALSE(find_local_gpu(trainer("cpu\\n"), folder_.path()));
}

TEST_F(LocalGpuTest, SaysWhatToDoForOneThatLiesIdle) {
  add_device("0000:01:00.0", "0x10de", "0x030200");
  const auto gpu = find_local_gpu(trainer("cpu\\n"), folder_.path());
  ASSERT_TRUE(gpu);
  EXPECT_FALSE(gpu->usable);
  EXPECT_THAT(gpu->advice(), HasSubstr("NVIDIA GPU at PCI 0000:01:00.0: lies idle"));
  EXPECT_THAT(gpu->advice(), HasSubstr("scripts/install-libtorch cuda"));
  EXPECT_FALSE(find_local_gpu(folder_.path() / "no-trainer", folder_.path())->usable);
}

TEST_F(LocalGpuTest, CallsItByTheDriversNameAndKnowsWhenItTrains) {
  add_device("0000:01:00.0", "0x10de", "0x030000");
  write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 33\n");
  const auto gpu = find_local_gpu(trainer("cpu\\ncuda:0\\n"), folder_.path());
  ASSERT_TRUE(gpu);
  EXPECT_TRUE(gpu->usable);
  EXPECT_THAT(gpu->advice(), HasSubstr("NVIDIA H100 80GB HBM3: trains, "));
}

TEST_F(LocalGpuTest, TrainsAsMuchAtOnceAsItsMemoryHasRoomFor) {
  const int by_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const auto trainings = [](std::int64_t gibibytes) { return LocalGpu{.free_memory = gibibytes << 30}.trainings(); };
  EXPECT_EQ(trainings(0), 1);
  EXPECT_EQ(trainings(6), 1);
  EXPECT_EQ(trainings(17), std::min(2, by_cores));
  EXPECT_EQ(trainings(80), std::min(4, by_cores));
}

}  // namespace
}  // namespace finch::controller
