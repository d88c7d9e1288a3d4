// A folder of its own for one test, gone after it; and the small things that the agent's tests write and read.
#pragma once

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace finch::agent {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "finch-agent-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Writes a file below, with its folders.
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::filesystem::path source_folder() {
  return std::getenv("FINCH_SOURCE");
}
inline std::filesystem::path agent_program() {
  return std::filesystem::path(std::getenv("FINCH_BIN")) / "finch-agent";
}
inline std::filesystem::path test_model(const std::string& name) {
  return source_folder() / "tests" / "agent" / "models" / (name + ".onnx");
}
inline std::filesystem::path reference_model() {
  return source_folder() / "agent" / "reference_network.onnx";
}

// The data for tests that lie outside of the repository; nothing when they are not here.
inline std::optional<std::filesystem::path> test_data(const std::string& name) {
  std::filesystem::path folder;
  if (const char* given = std::getenv("FINCH_TEST_DATA")) {
    folder = given;
  } else {
    folder = source_folder() / ".." / "shared" / "data";
  }
  if (!std::filesystem::exists(folder / name)) return std::nullopt;
  return folder / name;
}

}  // namespace finch::agent
