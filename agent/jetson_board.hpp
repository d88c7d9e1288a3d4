// Which Jetson a board is, and which of its rails make up the whole. Values and free functions; thread safe.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "agent/ina3221.hpp"
#include "agent/system_files.hpp"

namespace finch::agent {

struct JetsonBoard {
  std::string_view name;  // "Jetson AGX Orin"
  // Parts of a device tree's "compatible" that stand for this module: "p3767", "0003".
  std::vector<std::vector<std::string_view>> modules;
  // Words that the device tree's model has, and a model that is known as it is.
  std::vector<std::string_view> models;
  std::string_view exact_model{};
  // Rails by which the board is known where there is no device tree.
  std::vector<std::string_view> known_by;
  // Their sum is the whole module's power, and no other rail belongs to it.
  std::vector<std::string_view> total;
  // A step of the current, where the driver does not tell the shunt: 40 uV over its resistance.
  double current_step_ma = 8;
};

// By device tree if there is one, else by the rails. Null: no Jetson, or one that is not in the table.
const JetsonBoard* find_jetson_board(const SystemFiles& files, std::span<const Ina3221Chip> chips);

// The device tree's name of the board, "Raspberry Pi 4 Model B Rev 1.4"; empty: there is none.
std::string device_tree_model(const SystemFiles& files);

}  // namespace finch::agent
