// Every kind of board, from the trees of the test data and from trees written here; and sensors that go wrong.
#include "agent/board_probe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "agent/jetson_board.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::Contains;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

struct Rail {
  std::string label;
  int millivolt = 5000;
  int milliampere = 400;
};

// A board in a folder, as the kernel shows it.
class FakeBoard {
 public:
  const TemporaryFolder& folder() const { return folder_; }
  void write(const std::string& path, const std::string& text) const { folder_.write(path, text + "\n"); }
  BoardProbe probe() const { return probe_board(SystemFiles(folder_.path()), {}); }

  // JetPack 5 and 6. Also what is no rail: the shunts' voltages and their sum.
  std::string add_hwmon_chip(const std::string& address, const std::vector<Rail>& rails,
                             const std::string& bus = "sys/bus/i2c/devices/") const {
    const std::string hwmon = bus + address + "/hwmon/hwmon" + address.back() + "/";
    write(bus + address + "/name", "ina3221");
    int number = 0;
    for (const Rail& rail : rails) {
      const std::string n = std::to_string(++number);
      write(hwmon + "in" + n + "_label", rail.label);
      write(hwmon + "in" + n + "_enable", "1");
      write(hwmon + "in" + n + "_input", std::to_string(rail.millivolt));
      write(hwmon + "curr" + n + "_input", std::to_string(rail.milliampere));
      write(hwmon + "in" + std::to_string(number + 3) + "_input", "9520");
    }
    write(hwmon + "in7_label", "sum of shunt voltages");
    write(hwmon + "in7_input", "14280");
    write(hwmon + "curr4_input", "4000");
    return hwmon;
  }

  // JetPack 3 and 4.
  std::string add_iio_chip(const std::string& address, const std::vector<Rail>& rails) const {
    const std::string device = "sys/bus/i2c/drivers/ina3221x/" + address + "/iio:device" + address.back() + "/";
    int number = 0;
    for (const Rail& rail : rails) {
      const std::string n = std::to_string(number++);
      write(device + "rail_name_" + n, rail.label);
      write(device + "in_voltage" + n + "_input", std::to_string(rail.millivolt));
      write(device + "in_current" + n + "_input", std::to_string(rail.milliampere));
      write(device + "in_power" + n + "_input", std::to_string(rail.millivolt * rail.milliampere / 1000));
    }
    return device;
  }

 private:
  TemporaryFolder folder_;
};

std::vector<std::string> labels(const BoardProbe& probe) {
  std::vector<std::string> all;
  for (const ProbedRail& rail : probe.rails) all.push_back(rail.reading.label);
  return all;
}

const RailReading& rail(const BoardProbe& probe, const std::string& label) {
  for (const ProbedRail& candidate : probe.rails) {
    if (candidate.reading.label == label) return candidate.reading;
  }
  ADD_FAILURE() << "no rail " << label;
  return probe.rails.front().reading;
}

// ------------------------------------------------------------------------------------------------ the test data

TEST(FakeSystems, OrinNx) {
  const auto root = test_data("fakesys/orin-nx");
  if (!root) GTEST_SKIP() << "fakesys/orin-nx is not there; set FINCH_TEST_DATA";
  const BoardProbe probe = probe_board(SystemFiles(*root), {});
  EXPECT_EQ(probe.board, "Jetson Orin NX or Orin Nano");
  EXPECT_THAT(labels(probe), ElementsAre("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"));
  ASSERT_TRUE(probe.total);
  EXPECT_THAT(probe.total->rails, ElementsAre("VDD_IN"));
  EXPECT_DOUBLE_EQ(probe.total->power_mw, 4984.0 * 1904 / 1000);
  EXPECT_THAT(rail(probe, "VDD_IN").resolution_mw, testing::Optional(DoubleNear(8 * 4.984, 1e-9)));
  ASSERT_THAT(probe.thermal, SizeIs(4));
  EXPECT_EQ(probe.thermal[2].type, "cv0-thermal");
  EXPECT_FALSE(probe.thermal[2].celsius);
  EXPECT_EQ(probe.thermal[3].celsius, 51.7);
  EXPECT_EQ(probe.throttle.counts.at("over-current oc2"), 0);
  EXPECT_EQ(probe.frequencies.fan_state, 3);
}

TEST(FakeSystems, AgxOrin) {
  const auto root = test_data("fakesys/agx-orin");
  if (!root) GTEST_SKIP() << "fakesys/agx-orin is not there; set FINCH_TEST_DATA";
  const BoardProbe probe = probe_board(SystemFiles(*root), {});
  EXPECT_EQ(probe.board, "Jetson AGX Orin");
  EXPECT_THAT(labels(probe), ElementsAre("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"));
  ASSERT_TRUE(probe.total);
  // The memory's rail is fed from VIN_SYS_5V0: it counts there already.
  EXPECT_THAT(probe.total->rails, ElementsAre("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"));
  EXPECT_NEAR(probe.total->power_mw, 5158.4 + 3174.4 + 5535.2, 1e-6);
  EXPECT_THAT(rail(probe, "VDD_GPU_SOC").resolution_mw, testing::Optional(DoubleNear(20 * 19.84, 1e-9)));
  EXPECT_THAT(probe.warnings, IsEmpty());  // channels that are not connected are none
}

TEST(FakeSystems, NanoWithJetPack4) {
  const auto root = test_data("fakesys/nano-jp4");
  if (!root) GTEST_SKIP() << "fakesys/nano-jp4 is not there; set FINCH_TEST_DATA";
  const BoardProbe probe = probe_board(SystemFiles(*root), {});
  EXPECT_EQ(probe.board, "Jetson Nano");
  ASSERT_TRUE(probe.total);
  EXPECT_THAT(probe.total->rails, ElementsAre("POM_5V_IN"));
  EXPECT_DOUBLE_EQ(probe.total->power_mw, 3266);
  EXPECT_EQ(probe.total->provenance, PowerProvenance::kRail);
  EXPECT_THAT(rail(probe, "POM_5V_GPU").resolution_mw, testing::Optional(DoubleNear(8 * 5.104, 1e-9)));
}

TEST(FakeSystems, RaspberryPi5) {
  const auto root = test_data("fakesys/pi5");
  if (!root) GTEST_SKIP() << "fakesys/pi5 is not there; set FINCH_TEST_DATA";
  const BoardProbe probe = probe_board(SystemFiles(*root), {});
  EXPECT_EQ(probe.board, "Raspberry Pi 5");
  EXPECT_THAT(probe.rails, SizeIs(12));
  EXPECT_NEAR(rail(probe, "VDD_CORE").power_mw, 1428.8 * 0.9065925, 1e-6);
  ASSERT_TRUE(probe.total);
  EXPECT_EQ(probe.total->provenance, PowerProvenance::kPmicSum);
  EXPECT_NEAR(probe.total->power_mw, 2948, 0.5);
  EXPECT_THAT(probe.warnings, ElementsAre(HasSubstr("no current sensor")));
  // The file in sysfs says nothing, the firmware itself does.
  EXPECT_EQ(probe.throttle.firmware_flags, 0x50005U);
  ASSERT_THAT(probe.frequencies.clocks, SizeIs(1));
  EXPECT_EQ(probe.frequencies.clocks[0].current_hz, 2'400'000'000);
  EXPECT_TRUE(probe.frequencies.clocks[0].current_is_hardware);
  EXPECT_EQ(probe.frequencies.fan_rpm, 2471);
}

// ------------------------------------------------------------------------------------------------ boards by rails

TEST(Jetsons, AgxXavierHasNoTotalButSixParts) {
  const std::vector<Rail> first{{"GPU", 19000, 16}, {"CPU", 19000, 24}, {"SOC", 19000, 48}};
  const std::vector<Rail> second{{"CV", 19000, 0}, {"VDDRQ", 19000, 16}, {"SYS5V", 5000, 300}};
  const FakeBoard old_system;
  old_system.add_iio_chip("1-0040", first);
  old_system.add_iio_chip("1-0041", second);
  const FakeBoard new_system;
  new_system.add_hwmon_chip("1-0040", first);
  new_system.add_hwmon_chip("1-0041", second);
  for (const FakeBoard* board : {&old_system, &new_system}) {
    const BoardProbe probe = board->probe();
    EXPECT_EQ(probe.board, "Jetson AGX Xavier");
    ASSERT_TRUE(probe.total);
    EXPECT_THAT(probe.total->rails, ElementsAre("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"));
    EXPECT_NEAR(probe.total->power_mw, 19 * (16 + 24 + 48 + 16) + 1500, 1e-6);
    EXPECT_THAT(probe.warnings, IsEmpty());
  }
}

TEST(Jetsons, XavierNxIsKnownByItsBus) {
  const std::vector<Rail> rails{{"VDD_IN", 5000, 1200}, {"VDD_CPU_GPU_CV"}, {"VDD_SOC"}};
  const FakeBoard old_system;
  old_system.add_iio_chip("7-0040", rails);
  const FakeBoard new_system;
  new_system.add_hwmon_chip("7-0040", rails);
  for (const FakeBoard* board : {&old_system, &new_system}) {
    EXPECT_EQ(board->probe().board, "Jetson Xavier NX");
    EXPECT_THAT(board->probe().total->rails, ElementsAre("VDD_IN"));
    EXPECT_DOUBLE_EQ(board->probe().total->power_mw, 6000);
  }
}

TEST(Jetsons, Tx2HasTheModuleOnOneRailAndTheCarrierOnOthers) {
  const FakeBoard board;
  board.add_iio_chip("0-0040", {{"VDD_SYS_GPU"}, {"VDD_SYS_SOC"}, {"VDD_4V0_WIFI"}});
  board.add_iio_chip("0-0041", {{"VDD_IN", 19000, 200}, {"VDD_SYS_CPU"}, {"VDD_SYS_DDR"}});
  board.add_iio_chip("0-0042", {{"VDD_MUX"}, {"VDD_5V0_IO_SYS"}, {"VDD_3V3_SYS"}});
  const BoardProbe probe = board.probe();
  EXPECT_EQ(probe.board, "Jetson TX2");
  EXPECT_THAT(probe.rails, SizeIs(9));
  EXPECT_THAT(probe.total->rails, ElementsAre("VDD_IN"));
  EXPECT_DOUBLE_EQ(probe.total->power_mw, 3800);
}

TEST(Jetsons, TheDeviceTreeNamesTheModule) {
  const std::map<std::string, std::string> boards{
      {"nvidia,p3737-0000+p3701-0005", "Jetson AGX Orin"},
      {"nvidia,p3768-0000+p3767-0000", "Jetson Orin NX"},
      {"nvidia,p3768-0000+p3767-0005", "Jetson Orin Nano"},
      {"nvidia,p3768-0000+p3767-0099", "Jetson Orin NX or Orin Nano"},
      {"nvidia,p2972-0000", "Jetson AGX Xavier"},
      {"nvidia,p3509-0000+p3668-0001", "Jetson Xavier NX"},
      {"nvidia,p2597-0000+p3310-1000", "Jetson TX2"},
      {"nvidia,p3509-0000+p3636-0001", "Jetson TX2 NX"},
      {"nvidia,p3449-0000-b00+p3448-0000-b00", "Jetson Nano"},
  };
  for (const auto& [compatible, name] : boards) {
    const FakeBoard board;
    board.folder().write("sys/firmware/devicetree/base/compatible", compatible + std::string("\0nvidia,tegra\0", 14));
    EXPECT_EQ(board.probe().board, name) << compatible;
    EXPECT_FALSE(board.probe().total);
  }
  const std::map<std::string, std::string> models{
      {"NVIDIA Jetson Orin Nano Developer Kit", "Jetson Orin Nano"},
      {"NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "Jetson Orin NX"},
      {"NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin"},
      {"NVIDIA Jetson Xavier NX Developer Kit", "Jetson Xavier NX"},
      {"Jetson-AGX", "Jetson AGX Xavier"},
      {"NVIDIA Jetson Nano Developer Kit", "Jetson Nano"},
      {"quill", "Jetson TX2"},
      {"NVIDIA Jetson AGX Thor Developer Kit", "NVIDIA Jetson AGX Thor Developer Kit"},
      {"Raspberry Pi 3 Model B Plus Rev 1.3", "Raspberry Pi 3 Model B Plus Rev 1.3"},
  };
  for (const auto& [model, name] : models) {
    const FakeBoard board;
    board.folder().write("proc/device-tree/model", model + std::string(1, '\0'));
    EXPECT_EQ(board.probe().board, name) << model;
  }
}

TEST(Jetsons, ARailThatOnlySoundsLikeTheTotalIsNone) {
  const FakeBoard board;
  board.write("sys/firmware/devicetree/base/model", "NVIDIA Jetson AGX Orin Developer Kit");
  board.add_hwmon_chip("1-0040", {{"VDD_GPU_SOC", 19000, 100}, {"VDD_CPU_CV", 19000, 100}, {"VIN_SYS_5V0", 5000, 100}});
  board.add_hwmon_chip("2-0044", {{"VDD_IN", 12000, 9000}, {"VDD_GPU_SOC_AUX", 12000, 9000}});
  EXPECT_NEAR(board.probe().total->power_mw, 1900 + 1900 + 500, 1e-6);
}

TEST(Jetsons, AnUnknownBoardHasRailsButNoTotal) {
  const FakeBoard board;
  board.add_hwmon_chip("1-0040", {{"VDD_A"}, {"VDD_B"}});
  EXPECT_THAT(labels(board.probe()), ElementsAre("VDD_A", "VDD_B"));
  EXPECT_FALSE(board.probe().total);
  EXPECT_FALSE(board.probe().rails[0].reading.resolution_mw);
  EXPECT_THAT(board.probe().warnings, ElementsAre(HasSubstr("nothing says which")));
}

TEST(Jetsons, SameChipSeenInSeveralPlacesCountsOnce) {
  const FakeBoard board;
  const std::vector<Rail> rails{{"VDD_IN"}, {"VDD_CPU_GPU_CV"}, {"VDD_SOC"}};
  board.add_hwmon_chip("1-0040", rails);
  board.add_hwmon_chip("1-0040", rails, "sys/bus/i2c/drivers/ina3221/");
  board.write("sys/class/hwmon/hwmon0/name", "ina3221");
  board.write("sys/class/hwmon/hwmon0/in1_label", "VDD_IN");
  EXPECT_THAT(board.probe().rails, SizeIs(3));
}

TEST(Jetsons, AShuntThatTheKernelTellsCounts) {
  const FakeBoard board;
  const std::string hwmon = board.add_hwmon_chip("1-0040", {{"VDD_IN", 5000}, {"VDD_CPU_GPU_CV"}, {"VDD_SOC"}});
  board.write(hwmon + "shunt1_resistor", "10000");
  EXPECT_THAT(rail(board.probe(), "VDD_IN").resolution_mw, testing::Optional(DoubleNear(4 * 5.0, 1e-9)));
}

// ------------------------------------------------------------------------------------------------ what goes wrong

class OrinFaults : public testing::Test {
 protected:
  FakeBoard board_;
  std::string hwmon_ = board_.add_hwmon_chip("1-0040", {{"VDD_IN"}, {"VDD_CPU_GPU_CV"}, {"VDD_SOC"}});
};

TEST_F(OrinFaults, AReadingThatFailsLeavesNoTotal) {
  // A folder gives an error when it is read, as a disabled channel (ENODATA) does.
  std::filesystem::remove(board_.folder().path() / (hwmon_ + "curr1_input"));
  std::filesystem::create_directory(board_.folder().path() / (hwmon_ + "curr1_input"));
  const BoardProbe probe = board_.probe();
  EXPECT_THAT(labels(probe), ElementsAre("VDD_CPU_GPU_CV", "VDD_SOC"));
  EXPECT_FALSE(probe.total);
  EXPECT_THAT(probe.warnings, Contains(HasSubstr("rail VDD_IN at 1-0040 gives no reading")));
}

TEST_F(OrinFaults, GarbageIsNoReading) {
  for (const char* garbage : {"", "n/a", "5.1", "12 34", "99999999999999999999", "-99999999", "0x10", "\x80\xff"}) {
    board_.write(hwmon_ + "in1_input", garbage);
    EXPECT_FALSE(board_.probe().total) << garbage;
    EXPECT_THAT(labels(board_.probe()), SizeIs(2)) << garbage;
  }
}

TEST_F(OrinFaults, APartThatFailsCostsThePartOnly) {
  std::filesystem::remove(board_.folder().path() / (hwmon_ + "in3_input"));
  EXPECT_TRUE(board_.probe().total);
  EXPECT_THAT(board_.probe().warnings, SizeIs(1));
}

TEST_F(OrinFaults, DisabledChannelsAreNoRails) {
  board_.write(hwmon_ + "in3_enable", "0");
  EXPECT_THAT(labels(board_.probe()), ElementsAre("VDD_IN", "VDD_CPU_GPU_CV"));
  EXPECT_THAT(board_.probe().warnings, IsEmpty());
  board_.write(hwmon_ + "in1_enable", "0");
  EXPECT_FALSE(board_.probe().total);
  EXPECT_THAT(board_.probe().warnings, Contains(HasSubstr("VDD_IN is switched off")));
}

TEST_F(OrinFaults, ALabelOfAnyBytesGivesValidJson) {
  board_.write(hwmon_ + "in3_label", "VDD\xff\"\\\x01_A");
  EXPECT_THAT(probe_json(board_.probe()), HasSubstr(R"("VDD\ufffd\"\\\u0001_A")"));
}

TEST_F(OrinFaults, APipeInAFilesPlaceDoesNotBlock) {
  const auto path = board_.folder().path() / (hwmon_ + "in1_input");
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(board_.probe().total);
}

TEST(Thermal, OfflineGarbageAndMissingAreNoTemperatures) {
  const FakeBoard board;
  for (const auto& [zone, text] : std::map<std::string, std::string>{
           {"0", "48200"}, {"1", "-256000"}, {"2", "warm"}, {"3", "4820000"}, {"4", "-5000"}}) {
    board.write("sys/class/thermal/thermal_zone" + zone + "/type", "zone" + zone);
    board.write("sys/class/thermal/thermal_zone" + zone + "/temp", text);
  }
  board.write("sys/class/thermal/thermal_zone10/type", "no-temp");
  const BoardProbe probe = board.probe();
  ASSERT_THAT(probe.thermal, SizeIs(6));
  EXPECT_EQ(probe.thermal[0].celsius, 48.2);
  EXPECT_EQ(probe.thermal[4].celsius, -5.0);
  for (const std::size_t i : {1U, 2U, 3U, 5U}) EXPECT_FALSE(probe.thermal[i].celsius) << i;
  EXPECT_THAT(probe.warnings, SizeIs(4));
  EXPECT_THAT(probe_json(probe), HasSubstr(R"({"type": "zone1", "celsius": null})"));
}

TEST(Throttle, AlertsCountersAndFlags) {
  const FakeBoard board;
  board.write("sys/class/thermal/cooling_device0/type", "cpu-throttle-alert");
  board.write("sys/class/thermal/cooling_device0/cur_state", "1");
  board.write("sys/class/thermal/cooling_device1/type", "hot-surface-alert");
  board.write("sys/class/thermal/cooling_device1/cur_state", "what");
  board.write("sys/devices/platform/soctherm-oc-event/hwmon/hwmon7/oc1_event_cnt", "3");
  board.write("sys/devices/platform/soctherm-oc-event/hwmon/hwmon7/oc2_event_cnt", "");
  board.write("sys/devices/platform/soc/soc:firmware/get_throttled", "80000");
  const BoardProbe probe = board.probe();
  EXPECT_THAT(probe.throttle.active_alerts, ElementsAre("cpu-throttle-alert"));
  EXPECT_EQ(probe.throttle.counts.at("over-current oc1"), 3);
  EXPECT_EQ(probe.throttle.firmware_flags, 0x80000U);
  EXPECT_THAT(probe.warnings, SizeIs(2));
  board.write("firmware/get_throttled.txt", "throttled=0x4");
  EXPECT_EQ(board.probe().throttle.firmware_flags, 0x80004U);
  board.write("firmware/get_throttled.txt", "error=1 error_msg=\"Command not registered\"");
  EXPECT_THAT(board.probe().warnings, Contains(HasSubstr("not understood")));
}

TEST(Frequencies, ClocksPowerModeAndLoad) {
  const FakeBoard board;
  board.write("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "1500000");
  board.write("sys/devices/system/cpu/cpufreq/policy4/scaling_governor", "schedutil");
  board.write("sys/class/devfreq/17000000.gpu/cur_freq", "306000000");
  board.write("sys/class/devfreq/17000000.gpu/governor", "nvhost_podgov");
  board.write("sys/class/devfreq/17000000.gpu/device/load", "573");
  board.write("var/lib/nvpmodel/status", "pmode:0002");
  board.write("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >");
  const FrequencyReading reading = board.probe().frequencies;
  ASSERT_THAT(reading.clocks, SizeIs(2));
  EXPECT_EQ(reading.clocks[0].current_hz, 1'500'000'000);
  EXPECT_FALSE(reading.clocks[0].current_is_hardware);
  EXPECT_EQ(reading.clocks[1].current_hz, 306'000'000);
  EXPECT_EQ(reading.clocks[1].load_percent, 57.3);
  EXPECT_EQ(reading.power_mode, "MODE_30W");
  board.write("var/lib/nvpmodel/status", "pmode:0007");
  EXPECT_EQ(board.probe().frequencies.power_mode, "mode 7");
}

TEST(Root, IsNotLeftThroughLinks) {
  const FakeBoard board;
  std::filesystem::create_directories(board.folder().path() / "sys/class/thermal/thermal_zone0");
  const TemporaryFolder outside;
  std::filesystem::create_symlink(outside.write("temp", "51000\n"),
                                  board.folder().path() / "sys/class/thermal/thermal_zone0/temp");
  EXPECT_FALSE(board.probe().thermal.at(0).celsius);
  board.write("real/temp", "52000");
  board.write("sys/class/thermal/thermal_zone1/type", "linked");
  std::filesystem::create_symlink("/real/temp", board.folder().path() / "sys/class/thermal/thermal_zone1/temp");
  EXPECT_EQ(board.probe().thermal.at(1).celsius, 52.0);
}

TEST(Probe, OfThisMachineInventsNoBoard) {
  const BoardProbe probe = probe_board(SystemFiles(), {});
  const bool firmware = std::filesystem::exists("/sys/devices/platform/soc/soc:firmware/get_throttled");
  EXPECT_EQ(probe.board.starts_with("Raspberry Pi"), firmware) << probe.board;
}

TEST(Probe, OfNothingIsEmptyButWhole) {
  const FakeBoard board;
  EXPECT_EQ(probe_json(board.probe()),
            R"({"board": "unknown", "rails": [], "total_power": null, "thermal": [], "throttle": {"firmware": null, )"
            R"("active_alerts": [], "counts": {}, "power_mode": null, "fan_state": null, "fan_rpm": null}, )"
            R"("frequencies": [], "warnings": []})");
  EXPECT_THAT(probe_text(board.probe()), HasSubstr("not measured"));
}

}  // namespace
}  // namespace finch::agent
