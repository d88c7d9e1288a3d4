// PowerSensor of the INA3221 chips.
#include <algorithm>
#include <format>
#include <optional>
#include <utility>

#include "agent/board_power.hpp"
#include "agent/ina3221.hpp"
#include "agent/jetson_board.hpp"

namespace finch::agent {
namespace {

// A step of the shunt's voltage, and the most that a channel can be at (INA3221 data sheet, SBOS576).
constexpr double kShuntStepMicrovolt = 40;
constexpr double kMostMillivolt = 32'760;
constexpr double kMostMilliampere = 200'000;

class JetsonPower final : public PowerSensor {
 public:
  JetsonPower(const SystemFiles& files, std::vector<Ina3221Chip> chips, const JetsonBoard* board)
      : files_(files), chips_(std::move(chips)), board_(board) {
    if (board_ != nullptr) total_.assign(board_->total.begin(), board_->total.end());
    named_ = std::ranges::all_of(chips_, [](const Ina3221Chip& chip) {
      return std::ranges::none_of(chip.channels, &std::string::empty, &Ina3221Channel::label);
    });
    for (Ina3221Chip& chip : chips_) {
      for (std::size_t i = 0; i < chip.channels.size(); ++i) {
        if (chip.channels[i].label.empty()) chip.channels[i].label = std::format("{} channel {}", chip.address, i + 1);
      }
    }
  }

  // Who makes a board names its rails; a chip without names has been put there by somebody else.
  PowerProvenance provenance() const override { return named_ ? PowerProvenance::kRail : PowerProvenance::kExternal; }
  const std::vector<std::string>& total_rails() const override { return total_; }

  PowerReading read() override {
    PowerReading reading{.at = monotonic_now(), .rails = {}, .problems = {}};
    for (const Ina3221Chip& chip : chips_) {
      for (const Ina3221Channel& channel : chip.channels) read_channel(chip, channel, reading);
    }
    return reading;
  }

 private:
  void read_channel(const Ina3221Chip& chip, const Ina3221Channel& channel, PowerReading& reading) const {
    if (!channel.enabled) {
      if (std::ranges::contains(total_, channel.label)) {
        reading.problems.push_back(std::format("rail {} is switched off at {}", channel.label, chip.address));
      }
      return;
    }
    const auto millivolt = bounded(channel.voltage, kMostMillivolt);
    const auto milliampere = bounded(channel.current, kMostMilliampere);
    // The driver's own product is of one moment, so it comes first.
    auto power = channel.power.empty() ? std::nullopt : bounded(channel.power, kMostMillivolt * kMostMilliampere);
    if (!power && millivolt && milliampere) power = *millivolt * *milliampere / 1000;
    if (!power) {
      reading.problems.push_back(std::format("rail {} at {} gives no reading", channel.label, chip.address));
      return;
    }
    const double step_ma = channel.shunt_micro_ohm ? kShuntStepMicrovolt * 1000 / *channel.shunt_micro_ohm
                           : board_ != nullptr     ? board_->current_step_ma
                                                   : 0;
    std::optional<double> resolution;
    if (millivolt && step_ma > 0) resolution = step_ma * *millivolt / 1000;
    reading.rails.push_back({channel.label, *power, resolution});
  }

  // Small negative values are noise around nothing.
  std::optional<double> bounded(const std::string& path, double most) const {
    const auto value = files_.read_number(path);
    if (!value || static_cast<double>(*value) > most || static_cast<double>(*value) < -most) return std::nullopt;
    return static_cast<double>(*value);
  }

  SystemFiles files_;
  std::vector<Ina3221Chip> chips_;
  const JetsonBoard* board_;
  bool named_ = true;
  std::vector<std::string> total_;
};

}  // namespace

std::unique_ptr<PowerSensor> open_jetson_power(const SystemFiles& files) {
  std::vector<Ina3221Chip> chips = find_ina3221(files);
  if (chips.empty()) return nullptr;
  const JetsonBoard* board = find_jetson_board(files, chips);
  return std::make_unique<JetsonPower>(files, std::move(chips), board);
}

}  // namespace finch::agent
