// PowerSensor of a Raspberry Pi 5's power chip, through the firmware.
#include <array>
#include <format>
#include <string_view>
#include <utility>

#include "agent/board_power.hpp"
#include "agent/raspberry_firmware.hpp"

namespace finch::agent {
namespace {

// The rails with a voltage and a current. EXT5V and BATT have a voltage only, so the input itself is not measured.
// How fine the firmware's figures are is documented nowhere.
constexpr std::array<std::string_view, 12> kRails{"3V7_WL_SW", "3V3_SYS",  "1V8_SYS", "DDR_VDD2", "DDR_VDDQ", "1V1_SYS",
                                                  "0V8_SW",    "VDD_CORE", "3V3_DAC", "3V3_ADC",  "0V8_AON",  "HDMI"};

class PmicPower final : public PowerSensor {
 public:
  explicit PmicPower(const SystemFiles& files) : files_(files), total_(kRails.begin(), kRails.end()) {}

  PowerProvenance provenance() const override { return PowerProvenance::kPmicSum; }
  const std::vector<std::string>& total_rails() const override { return total_; }

  PowerReading read() override {
    PowerReading reading{.at = monotonic_now(), .rails = {}, .problems = {}};
    const auto answer = ask_raspberry_firmware(files_, "pmic_read_adc");
    const auto rails = parse_pmic(answer.value_or(""));
    for (const std::string& label : total_) {
      const auto rail = rails.find(label);
      if (rail != rails.end() && rail->second.volts && rail->second.amperes) {
        reading.rails.push_back({label, 1000 * *rail->second.volts * *rail->second.amperes, std::nullopt});
      } else {
        reading.problems.push_back(std::format("rail {} of the power chip gives no reading", label));
      }
    }
    return reading;
  }

 private:
  SystemFiles files_;
  std::vector<std::string> total_;
};

}  // namespace

std::unique_ptr<PowerSensor> open_pmic_power(const SystemFiles& files) {
  // A Raspberry Pi 4 has the firmware but not the command.
  const auto answer = ask_raspberry_firmware(files, "pmic_read_adc");
  if (!answer || parse_pmic(*answer).empty()) return nullptr;
  return std::make_unique<PmicPower>(files);
}

}  // namespace finch::agent
