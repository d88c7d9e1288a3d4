#include "agent/device_facts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/measurement_json.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Launcher runtime_launcher() {
  return [](const LaunchRequest& request, const auto&, const auto&) -> std::expected<LaunchEvent, Error> {
    EXPECT_TRUE(request.has_probe());
    EXPECT_EQ(request.library(), "/opt/ort");
    LaunchEvent event;
    event.mutable_probe()->set_version("1.21.0");
    event.mutable_probe()->add_providers("cpu");
    return event;
  };
}

class Pi4 : public testing::Test {
 protected:
  Pi4() {
    folder_.write("proc/cpuinfo",
                  "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
                  "processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
                  "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n");
    folder_.write("proc/meminfo", "MemTotal:        3884252 kB\nMemFree:          812340 kB\n");
    folder_.write("proc/sys/kernel/osrelease", "6.12.25+rpt-rpi-v8\n");
    folder_.write("proc/sys/kernel/random/boot_id", "7e0f2a8e-0000-4000-8000-000000000001\n");
    folder_.write("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n");
    folder_.write("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand\n");
  }
  SystemFiles files() const { return SystemFiles(folder_.path()); }
  TemporaryFolder folder_;
};

TEST_F(Pi4, IsDescribed) {
  const protocol::DeviceDescription device = read_device(files());
  EXPECT_EQ(device.cpu_model(), "Raspberry Pi 4 Model B Rev 1.4 (Cortex-A72)");
  EXPECT_EQ(device.cores(), 2);
  EXPECT_EQ(device.memory_bytes(), 3884252LL * 1024);
  EXPECT_EQ(device.operating_system(), "Debian GNU/Linux 13 (trixie)");
  EXPECT_EQ(device.kernel(), "6.12.25+rpt-rpi-v8");
  EXPECT_EQ(device.governor(), "ondemand");
  EXPECT_EQ(host_id(files()), "7e0f2a8e-0000-4000-8000-000000000001");
}

TEST_F(Pi4, WithARuntimeMeasuresLatencyAndMemoryButNoEnergy) {
  protocol::DeviceDescription device = read_device(files());
  add_runtimes(device, files(), runtime_launcher(), {{"onnxruntime", "/opt/ort"}}, {});
  ASSERT_THAT(device.runtimes(), SizeIs(1));
  EXPECT_EQ(device.runtimes(0).name(), "onnxruntime");
  EXPECT_EQ(device.runtimes(0).version(), "1.21.0");
  EXPECT_THAT(device.measures(), ElementsAre("latency", "memory"));
  EXPECT_THAT(device.cannot_measure(), ElementsAre(HasSubstr("energy: no power sensor found (looked")));
  EXPECT_THAT(device.state_hash(), SizeIs(64));
}

TEST_F(Pi4, WithoutARuntimeMeasuresNothingAndSaysWhy) {
  protocol::DeviceDescription device = read_device(files());
  add_runtimes(device, files(),
               [](const auto&, const auto&, const auto&) { return std::unexpected(Error{"ONNX Runtime not found"}); },
               {}, {});
  EXPECT_THAT(device.runtimes(), IsEmpty());
  EXPECT_THAT(device.measures(), IsEmpty());
  EXPECT_THAT(device.cannot_measure(), testing::Contains("latency: ONNX Runtime not found"));
}

TEST_F(Pi4, StateHashFollowsWhatMattersAndNothingElse) {
  const auto hash_of = [](protocol::DeviceDescription device) {
    set_state_hashes(device);
    return device.state_hash();
  };
  protocol::DeviceDescription device = read_device(files());
  const std::string hash = hash_of(device);
  device.set_name("pi-4-kitchen");
  device.set_profile("raspberry-pi-4");
  device.set_state_hash(hash);
  device.set_memory_bytes(device.memory_bytes() + 4096);  // another boot
  EXPECT_EQ(hash_of(device), hash);
  protocol::DeviceDescription other = device;
  other.set_governor("performance");
  EXPECT_NE(hash_of(other), hash);
  other = device;
  other.add_runtimes()->set_version("1.22.0");
  EXPECT_NE(hash_of(other), hash);
  other = device;
  other.set_kernel("6.12.26");
  EXPECT_NE(hash_of(other), hash);
}

TEST_F(Pi4, ARuntimesStateHashFollowsNoOtherRuntime) {
  protocol::DeviceDescription device = read_device(files());
  add_runtimes(device, files(), runtime_launcher(), {{"onnxruntime", "/opt/ort"}}, {});
  protocol::DeviceDescription more = device;
  more.add_runtimes()->set_name("openvino");
  more.mutable_runtimes(1)->set_version("2026.4.1");
  more.add_cannot_measure("with another runtime: it does not load");
  set_state_hashes(more);
  EXPECT_THAT(state_hash_with(more, "onnxruntime"), SizeIs(64));
  EXPECT_EQ(state_hash_with(more, "onnxruntime"), state_hash_with(device, "onnxruntime"));
  EXPECT_NE(state_hash_with(more, "openvino"), state_hash_with(more, "onnxruntime"));
  EXPECT_EQ(state_hash_with(more, "litert"), "");
  const std::string before = state_hash_with(more, "openvino");
  more.mutable_runtimes(1)->set_version("2026.5.0");
  more.set_kernel("6.12.26");
  set_state_hashes(more);
  EXPECT_NE(state_hash_with(more, "openvino"), before);
  EXPECT_NE(state_hash_with(more, "onnxruntime"), state_hash_with(device, "onnxruntime"));
}

TEST_F(Pi4, FactsArePrintedForPeopleAndPrograms) {
  protocol::DeviceDescription device = read_device(files());
  add_runtimes(device, files(), runtime_launcher(), {{"onnxruntime", "/opt/ort"}}, {});
  EXPECT_THAT(
      device_json(device),
      HasSubstr(
          R"("firmware": null, "governor": "ondemand", "gpu": null, "power_mode": null, "runtimes": [{"name": "onnxruntime", )"));
  EXPECT_THAT(device_text(device), HasSubstr("onnxruntime 1.21.0 (cpu)"));
}

TEST(DeviceFacts, IntelAndAmdNameTheirModel) {
  const TemporaryFolder folder;
  folder.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC 9R14\n");
  EXPECT_EQ(read_device(SystemFiles(folder.path())).cpu_model(), "AMD EPYC 9R14");
}

TEST(EnergyObstacle, IsNoneWhereTheWholeIsMeasured) {
  const TemporaryFolder folder;
  const SystemFiles files(folder.path());
  EXPECT_THAT(energy_obstacle(files, {}), HasSubstr("no power sensor found"));
  folder.write("sys/class/powercap/intel-rapl:0/name", "package-0\n");
  EXPECT_THAT(energy_obstacle(files, {}), HasSubstr("is for root"));
  folder.write("sys/class/powercap/intel-rapl:0/energy_uj", "123\n");
  EXPECT_EQ(energy_obstacle(files, {}), "");
  // A meter beside the board comes first, also when it does not work.
  EXPECT_THAT(energy_obstacle(files, {.command = "exit"}), HasSubstr("has ended"));
}

TEST(EnergyObstacle, RailsWithoutAWholeAreOne) {
  const TemporaryFolder folder;
  folder.write("sys/bus/i2c/devices/1-0040/name", "ina3221\n");
  folder.write("sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in1_label", "VDD_A\n");
  folder.write("sys/bus/i2c/devices/1-0040/hwmon/hwmon1/in1_input", "5000\n");
  folder.write("sys/bus/i2c/devices/1-0040/hwmon/hwmon1/curr1_input", "100\n");
  EXPECT_THAT(energy_obstacle(SystemFiles(folder.path()), {}), HasSubstr("nothing says which"));
}

TEST(EnergyObstacle, IsNoneOnEveryBoardOfTheTestData) {
  for (const char* board : {"fakesys/orin-nx", "fakesys/agx-orin", "fakesys/nano-jp4", "fakesys/pi5"}) {
    const auto root = test_data(board);
    if (!root) GTEST_SKIP() << board << " is not there; set FINCH_TEST_DATA";
    EXPECT_EQ(energy_obstacle(SystemFiles(*root), {}), "") << board;
  }
}

TEST(DeviceFacts, AnotherFirmwareIsAnotherState) {
  const TemporaryFolder folder;
  const SystemFiles files(folder.path());
  folder.write("etc/os-release", "ID=debian\n");
  folder.write("proc/cpuinfo", "processor\t: 0\n");
  const auto state = [&] {
    auto device = read_device(files);
    set_state_hashes(device);
    return device;
  };
  const std::string none = state().state_hash();
  EXPECT_EQ(state().firmware(), "");
  folder.write("proc/device-tree/chosen/bootloader/version", std::string("6efe41bd\0", 9));
  folder.write("firmware/version.txt",
               "2024/09/23 14:02:56 \nCopyright (c) 2012 Broadcom\nversion 26826259 (release) (embedded)\n");
  EXPECT_EQ(state().firmware(), "boot loader 6efe41bd, VideoCore 26826259 (release) (embedded)");
  const std::string before = state().state_hash();
  EXPECT_NE(before, none);
  folder.write("proc/device-tree/chosen/bootloader/version", std::string("2bb2ae64\0", 9));
  EXPECT_NE(state().state_hash(), before);
  EXPECT_THAT(device_text(state()), HasSubstr("firmware   boot loader 2bb2ae64, "));

  folder.write("sys/class/dmi/id/bios_version", "36.3.0-gcid-36191598\n");
  folder.write("etc/nv_tegra_release",
               "# R36 (release), REVISION: 3.0, GCID: 36191598\nTARGET_USERSPACE_LIB_DIR=nvidia\n");
  EXPECT_THAT(state().firmware(), HasSubstr("BIOS 36.3.0-gcid-36191598, L4T # R36 (release), REVISION: 3.0, "));
}

TEST(DeviceFacts, NamesTheGpusOfNvidiasDriver) {
  const TemporaryFolder folder;
  const SystemFiles files(folder.path());
  EXPECT_EQ(read_device(files).gpu(), "");
  folder.write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA L4\nIRQ:   \t\t 130\n");
  EXPECT_EQ(read_device(files).gpu(), "NVIDIA L4");
  folder.write("proc/driver/nvidia/gpus/0000:02:00.0/information", "Model: \t\t NVIDIA L4\n");
  folder.write("sys/module/nvidia/version", "570.86.15\n");
  EXPECT_EQ(read_device(files).gpu(), "2 x NVIDIA L4 (driver 570.86.15)");
  const std::string hash = [&] {
    auto device = read_device(files);
    set_state_hashes(device);
    return device.state_hash();
  }();
  folder.write("sys/module/nvidia/version", "575.1\n");
  auto device = read_device(files);
  set_state_hashes(device);
  EXPECT_NE(device.state_hash(), hash) << "a new driver is a new epoch";
}

}  // namespace
}  // namespace finch::agent
