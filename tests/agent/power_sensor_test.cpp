// Power sensors beside those of Jetsons: chips in the supply line, RAPL, the Raspberry Pi's power chip, programs.
#include "agent/power_sensor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "agent/board_power.hpp"
#include "agent/command_power.hpp"
#include "agent/raspberry_firmware.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Ina : public testing::Test {
 protected:
  void write(const std::string& file, const std::string& text) {
    folder_.write("sys/class/hwmon/hwmon2/" + file, text);
  }
  std::unique_ptr<PowerSensor> open() { return open_hwmon_power(SystemFiles(folder_.path())); }
  TemporaryFolder folder_;
};

TEST_F(Ina, MicrowattsBecomeMilliwatts) {
  write("name", "ina219\n");
  write("in0_input", "10\n");  // the shunt's voltage
  write("in1_input", "5080\n");
  write("curr1_input", "742\n");
  write("power1_input", "3780000\n");
  write("shunt_resistor", "100000\n");
  const auto sensor = open();
  ASSERT_TRUE(sensor);
  EXPECT_EQ(sensor->provenance(), PowerProvenance::kExternal);
  const PowerReading reading = sensor->read();
  ASSERT_THAT(reading.rails, SizeIs(1));
  EXPECT_EQ(reading.rails[0].label, "ina219");
  EXPECT_DOUBLE_EQ(reading.rails[0].power_mw, 3780);
  EXPECT_THAT(reading.rails[0].resolution_mw, testing::Optional(DoubleNear(2, 1e-9)));
  EXPECT_EQ(total_power_mw(reading, sensor->total_rails()), 3780);
}

TEST_F(Ina, WithoutAPowerFileItIsVoltsTimesAmperes) {
  write("name", "ina226\n");
  write("in1_input", "5000\n");
  write("curr1_input", "742\n");
  const PowerReading reading = open()->read();
  ASSERT_THAT(reading.rails, SizeIs(1));
  EXPECT_DOUBLE_EQ(reading.rails[0].power_mw, 3710);
  EXPECT_THAT(reading.rails[0].resolution_mw, testing::Optional(DoubleNear(5, 1e-9)));
}

TEST_F(Ina, GarbageIsAProblem) {
  write("name", "ina226\n");
  write("power1_input", "much\n");
  const auto sensor = open();
  const PowerReading reading = sensor->read();
  EXPECT_THAT(reading.problems, ElementsAre("ina226 gives no reading"));
  EXPECT_FALSE(total_power_mw(reading, sensor->total_rails()));
}

TEST_F(Ina, OfTwoNobodyKnowsWhichIsTheInput) {
  write("name", "ina219\n");
  write("power1_input", "1000000\n");
  folder_.write("sys/class/hwmon/hwmon3/name", "ina219\n");
  folder_.write("sys/class/hwmon/hwmon3/power1_input", "2000000\n");
  const auto sensor = open();
  EXPECT_THAT(sensor->read().rails, SizeIs(2));
  EXPECT_THAT(sensor->total_rails(), IsEmpty());
  EXPECT_THAT(sensor->read().problems, ElementsAre(HasSubstr("2 power sensors")));
}

TEST_F(Ina, OtherHwmonDevicesAreNone) {
  write("name", "rp1_adc\n");
  EXPECT_FALSE(open());
}

class Rapl : public testing::Test {
 protected:
  void write(const std::string& zone, const std::string& file, const std::string& text) {
    folder_.write("sys/class/powercap/" + zone + "/" + file, text + "\n");
  }
  void add(const std::string& zone, const std::string& name, const std::string& energy) {
    write(zone, "name", name);
    write(zone, "energy_uj", energy);
    write(zone, "max_energy_range_uj", "262143328850");
  }
  std::unique_ptr<PowerSensor> open() { return open_rapl_power(SystemFiles(folder_.path())); }
  TemporaryFolder folder_;
};

TEST_F(Rapl, PackageAndMemoryAreTheWholeAndCoresAPart) {
  add("intel-rapl:0", "package-0", "1000000");
  add("intel-rapl:0/intel-rapl:0:0", "core", "500000");
  add("intel-rapl:0:1", "dram", "100000");
  write("intel-rapl-mmio:0", "name", "package-0");  // the same counter once more
  const auto sensor = open();
  ASSERT_TRUE(sensor);
  EXPECT_THAT(sensor->total_rails(), ElementsAre("package-0", "package-0 dram"));
  write("intel-rapl:0", "energy_uj", "3000000");
  const PowerReading reading = sensor->read();
  ASSERT_THAT(reading.rails, SizeIs(3));
  EXPECT_GT(reading.rails[0].power_mw, 0);
  EXPECT_EQ(reading.rails[1].power_mw, 0);
  EXPECT_EQ(total_power_mw(reading, sensor->total_rails()), reading.rails[0].power_mw);
}

TEST_F(Rapl, CountersWrap) {
  add("intel-rapl:0", "package-0", "262143328800");
  const auto sensor = open();
  write("intel-rapl:0", "energy_uj", "1000");
  const PowerReading reading = sensor->read();
  ASSERT_THAT(reading.rails, SizeIs(1));
  // 1,050 uJ in at least 0.1 s.
  EXPECT_GT(reading.rails[0].power_mw, 0);
  EXPECT_LE(reading.rails[0].power_mw, 10.5);
}

TEST_F(Rapl, WithoutTheRightToReadItSaysSo) {
  write("intel-rapl:0", "name", "package-0");
  EXPECT_THAT(open()->read().problems, ElementsAre(HasSubstr("is for root")));
}

TEST_F(Rapl, PsysIsTheWholePlatform) {
  add("intel-rapl:0", "package-0", "1");
  add("intel-rapl:1", "psys", "1");
  EXPECT_THAT(open()->total_rails(), ElementsAre("psys"));
}

TEST(RaspberryFirmware, ThrottledIsParsed) {
  EXPECT_EQ(parse_throttled("throttled=0x50005"), 0x50005U);
  EXPECT_EQ(parse_throttled("throttled=0x0"), 0U);
  for (const char* wrong : {"", "0x5", "throttled=", "throttled=0x", "throttled=0xg", "throttled=0x123456789"}) {
    EXPECT_FALSE(parse_throttled(wrong)) << wrong;
  }
}

TEST(RaspberryFirmware, RailsArePairedByName) {
  const auto rails = parse_pmic(
      "   VDD_CORE_A current(7)=1.42880000A\n  VDD_CORE_V volt(15)=0.90659250V\n EXT5V_V volt(24)=5.05716000V\n"
      "HDMI_A current(22)=muchA\nHDMI_V volt(23)=5.0A\nnonsense\nX_A current(1)=1e9A\nY_A current(1)=-1A\n=\n _A =1A\n"
      "Z_A current(1)=nanA\nHDMI_V volt(23)=");
  ASSERT_THAT(rails, SizeIs(2));
  EXPECT_EQ(rails.at("VDD_CORE").amperes, 1.4288);
  EXPECT_EQ(rails.at("VDD_CORE").volts, 0.9065925);
  EXPECT_FALSE(rails.at("EXT5V").amperes);
}

TEST(RaspberryFirmware, ARailThatIsGoneLeavesNoSum) {
  const TemporaryFolder folder;
  folder.write("firmware/pmic_read_adc.txt", "VDD_CORE_A current(7)=1.4A\nVDD_CORE_V volt(15)=0.9V\n");
  const auto sensor = open_pmic_power(SystemFiles(folder.path()));
  ASSERT_TRUE(sensor);
  const PowerReading reading = sensor->read();
  EXPECT_THAT(reading.rails, SizeIs(1));
  EXPECT_THAT(reading.problems, SizeIs(11));
  EXPECT_FALSE(total_power_mw(reading, sensor->total_rails()));
}

TEST(PowerLines, AreTimeAndWatts) {
  EXPECT_EQ(parse_power_line("81234567890123 4.87")->at.count(), 81234567890123);
  EXPECT_EQ(parse_power_line(" 1\t0.5 \r")->watts, 0.5);
  EXPECT_EQ(parse_power_line("1 -0.25")->watts, -0.25);
  EXPECT_EQ(parse_power_line("1 2e1")->watts, 20);
  for (const char* wrong : {"", "1", "1 ", "x 1", "1 x", "1 2 3", "1.5 2", "-1 2", "1 nan", "1 inf", "1 1e9", "1,2"}) {
    EXPECT_FALSE(parse_power_line(wrong)) << wrong;
  }
}

std::string at_now(const std::string& watts) {
  return std::to_string(monotonic_now().count()) + " " + watts;
}

TEST(CommandPower, ReadsLineByLineAndSaysWhenTheProgramEnds) {
  const auto sensor = open_command_power("echo '" + at_now("4.5") + "'; echo hello; echo '" + at_now("5") + "'",
                                         PowerProvenance::kWall);
  EXPECT_EQ(sensor->provenance(), PowerProvenance::kWall);
  EXPECT_EQ(total_power_mw(sensor->read(), sensor->total_rails()), 4500);
  EXPECT_THAT(sensor->read().problems, ElementsAre(HasSubstr("prints 'hello'")));
  EXPECT_EQ(total_power_mw(sensor->read(), sensor->total_rails()), 5000);
  EXPECT_THAT(sensor->read().problems, ElementsAre(HasSubstr("has ended")));
}

TEST(CommandPower, TimesOfAnotherClockAreRefused) {
  const auto sensor = open_command_power("date '+%s000000000 5'", PowerProvenance::kExternal);
  EXPECT_THAT(sensor->read().problems, ElementsAre(HasSubstr("CLOCK_MONOTONIC")));
}

TEST(CommandPower, AProgramThatIsNotThereIsAProblem) {
  const auto sensor = open_command_power("/nowhere/meter 2>/dev/null", PowerProvenance::kExternal);
  EXPECT_THAT(sensor->read().problems, ElementsAre(HasSubstr("has ended: /nowhere/meter")));
}

TEST(CommandPower, EndlessRubbishIsCutOff) {
  const auto sensor = open_command_power("head -c 3000000 /dev/zero | tr '\\0' x; echo", PowerProvenance::kExternal);
  const PowerReading reading = sensor->read();
  ASSERT_THAT(reading.problems, SizeIs(1));
  EXPECT_LT(reading.problems[0].size(), 1000U);
}

TEST(CommandPower, IsPreferredToWhatTheBoardHas) {
  const TemporaryFolder folder;
  folder.write("sys/class/hwmon/hwmon0/name", "ina219\n");
  const auto sensors = find_power_sensors(SystemFiles(folder.path()), {.command = "cat"});
  ASSERT_THAT(sensors, SizeIs(2));
  EXPECT_THAT(sensors[0]->total_rails(), ElementsAre("command"));
}

TEST(Provenance, HasANameForEachKind) {
  for (const char* name : {"wall", "external", "rail", "pmic-sum", "rapl"}) {
    ASSERT_TRUE(find_provenance(name)) << name;
    EXPECT_EQ(name_of(*find_provenance(name)), name);
  }
  EXPECT_FALSE(find_provenance("guess"));
}

}  // namespace
}  // namespace finch::agent
