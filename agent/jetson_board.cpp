#include "agent/jetson_board.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace finch::agent {
namespace {

// Sources: NVIDIA's Jetson Linux Developer Guides 32.6 to 36.4, "Power Monitor" and "Software-Based Power Consumption
// Modeling"; the device trees of the kernel. What is easily taken wrong:
// - AGX Orin: VDDQ_VDD2_1V8AO (the memory) is fed from VIN_SYS_5V0 and so already in it.
// - TX1, TX2: VDD_IN is the module; VDD_MUX is the carrier board beside it.
// - Nano: POM_5V_GPU and POM_5V_CPU are parts of POM_5V_IN.
// - Shunts are 5 milliohm (steps of 8 mA), on AGX Orin 2 milliohm (20 mA). TX2 has some finer ones; the bound is
// stated.
const std::array<JetsonBoard, 10>& jetson_boards() {
  static const std::array<JetsonBoard, 10> kBoards{{
      {.name = "Jetson AGX Orin",
       .modules = {{"p3701"}},
       .models = {"agx", "orin"},
       .known_by = {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"},
       .total = {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"},
       .current_step_ma = 20},
      {.name = "Jetson Orin Nano",
       .modules = {{"p3767", "0003"}, {"p3767", "0004"}, {"p3767", "0005"}},
       .models = {"orin", "nano"},
       .known_by = {},
       .total = {"VDD_IN"}},
      {.name = "Jetson Orin NX",
       .modules = {{"p3767", "0000"}, {"p3767", "0001"}, {"p3767", "0002"}},
       .models = {"orin", "nx"},
       .known_by = {},
       .total = {"VDD_IN"}},
      {.name = "Jetson Xavier NX",
       .modules = {{"p3668"}},
       .models = {"xavier", "nx"},
       .known_by = {},
       .total = {"VDD_IN"}},
      {.name = "Jetson Orin NX or Orin Nano",
       .modules = {{"p3767"}},
       .models = {},
       .known_by = {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"},
       .total = {"VDD_IN"}},
      {.name = "Jetson AGX Xavier",
       .modules = {{"p2888"}, {"p2972"}},
       .models = {"agx", "xavier"},
       .exact_model = "Jetson-AGX",
       .known_by = {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"},
       .total = {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}},
      {.name = "Jetson TX2 NX",
       .modules = {{"p3636"}},
       .models = {"tx2", "nx"},
       .known_by = {"VDD_IN", "VDD_CPU_GPU", "VDD_SOC"},
       .total = {"VDD_IN"}},
      {.name = "Jetson TX2",
       .modules = {{"p3310"}, {"p3489"}, {"p2771"}},
       .models = {"tx2"},
       .exact_model = "quill",
       .known_by = {"VDD_IN", "VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_SYS_CPU", "VDD_SYS_DDR"},
       .total = {"VDD_IN"}},
      {.name = "Jetson TX1",
       .modules = {{"p2180"}, {"p2371"}},
       .models = {"tx1"},
       .known_by = {"VDD_IN", "VDD_GPU", "VDD_CPU"},
       .total = {"VDD_IN"}},
      {.name = "Jetson Nano",
       .modules = {{"p3448"}, {"p3450"}},
       .models = {"jetson", "nano"},
       .known_by = {"POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"},
       .total = {"POM_5V_IN"}},
  }};
  return kBoards;
}

// "NVIDIA Jetson Orin NX" -> "nvidia", "jetson", "orin", "nx".
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  return words;
}

bool has_all(const std::vector<std::string>& words, std::span<const std::string_view> wanted) {
  return std::ranges::all_of(wanted, [&](std::string_view word) { return std::ranges::contains(words, word); });
}

// "p3768", "0000", "p3767", "0005" has "p3767", "0005" but not "p3767", "0000".
bool has_run(const std::vector<std::string>& words, std::span<const std::string_view> wanted) {
  return !std::ranges::search(words, wanted).empty();
}

std::string device_tree_property(const SystemFiles& files, const std::string& name) {
  for (const std::string& folder : {std::string("/sys/firmware/devicetree/base/"), std::string("/proc/device-tree/")}) {
    if (!files.holds(folder + name)) continue;
    if (auto text = files.read(folder + name)) return *text;
  }
  return {};
}

}  // namespace

std::string device_tree_model(const SystemFiles& files) {
  return device_tree_property(files, "model");
}

const JetsonBoard* find_jetson_board(const SystemFiles& files, std::span<const Ina3221Chip> chips) {
  const auto compatible = words_of(device_tree_property(files, "compatible"));
  for (const JetsonBoard& board : jetson_boards()) {
    if (std::ranges::any_of(board.modules, [&](const auto& module) { return has_run(compatible, module); })) {
      return &board;
    }
  }
  const std::string model = device_tree_model(files);
  const auto model_words = words_of(model);
  for (const JetsonBoard& board : jetson_boards()) {
    if (!model.empty() && model == board.exact_model) return &board;
    if (!board.models.empty() && has_all(model_words, board.models)) return &board;
  }
  std::vector<std::string> labels;
  for (const Ina3221Chip& chip : chips) {
    for (const Ina3221Channel& channel : chip.channels) labels.push_back(channel.label);
  }
  for (const JetsonBoard& board : jetson_boards()) {
    if (board.known_by.empty() || !has_all(labels, board.known_by)) continue;
    // Xavier NX has the rails of Orin NX, on another bus.
    const bool xavier_bus = std::ranges::contains(chips, std::string_view("7-0040"), &Ina3221Chip::address);
    if (board.name == "Jetson Orin NX or Orin Nano" && xavier_bus) {
      return std::ranges::find(jetson_boards(), std::string_view("Jetson Xavier NX"), &JetsonBoard::name);
    }
    return &board;
  }
  return nullptr;
}

}  // namespace finch::agent
