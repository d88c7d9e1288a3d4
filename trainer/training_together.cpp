#include "trainer/training_together.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <format>
#include <fstream>
#include <map>

#include "protocol/farm.pb.h"

namespace finch::trainer {
namespace {

constexpr int kEventsDescriptor = 3;  // of protocol::serve_jobs()

// A folder of this process's own for a job's files, removed with them.
class JobFolder {
 public:
  JobFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "finch-trainer-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw std::runtime_error(std::format("{}: cannot make a folder: {}", name, std::strerror(errno)));
    path_ = name;
  }
  ~JobFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  JobFolder(const JobFolder&) = delete;
  JobFolder& operator=(const JobFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

void hand_on(ProcessGroup& group, const protocol::ChildRequest& request) {
  group.from_leader(request.SerializeAsString());
  for (const auto& [sha256, path] :
       std::map<std::string, std::string>(request.artifact_paths().begin(), request.artifact_paths().end()))
    group.from_leader(contents(path));
}

void dismiss(ProcessGroup& group) {
  group.from_leader({});
}

std::expected<void, Error> follow(ProcessGroup& group, JobServer& jobs) {
  try {
    for (;;) {
      protocol::ChildRequest request;
      const std::string bytes = group.from_leader({});
      if (bytes.empty()) return {};
      if (!request.ParseFromString(bytes)) return std::unexpected(Error{"the leader sent no request"});
      const JobFolder folder;
      request.set_output_folder(folder.path().string());
      for (const auto& [sha256, path] :
           std::map<std::string, std::string>(request.artifact_paths().begin(), request.artifact_paths().end())) {
        const auto file = folder.path() / sha256;
        std::ofstream(file, std::ios::binary) << group.from_leader({});
        (*request.mutable_artifact_paths())[sha256] = file.string();
      }
      std::string failure;
      jobs.serve(request, [&](const protocol::ChildEvent& event) { failure = event.result().failure().message(); });
      if (jobs.broken()) return std::unexpected(Error{failure});
    }
  } catch (const std::exception& error) {
    const std::string what = error.what();
    return std::unexpected(Error{std::format("process {} of {} lost the others: {}", group.rank(),
                                             group.rendezvous().processes, what.substr(0, what.find('\n')))});
  }
}

std::expected<Rendezvous, Error> start_others(const std::vector<std::string>& command, int processes) {
  const auto port = free_port();
  if (!port) return std::unexpected(port.error());
  Rendezvous rendezvous{.processes = processes, .processes_here = processes, .port = *port};
  posix_spawn_file_actions_t quiet;  // requests and events are the leader's alone
  ::posix_spawn_file_actions_init(&quiet);
  ::posix_spawn_file_actions_addopen(&quiet, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addclose(&quiet, kEventsDescriptor);
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  for (int rank = 1; rank < processes; ++rank) {
    std::vector<std::string> variables = {std::format("RANK={}", rank),
                                          std::format("WORLD_SIZE={}", processes),
                                          std::format("LOCAL_WORLD_SIZE={}", processes),
                                          std::format("LOCAL_RANK={}", rank),
                                          "MASTER_ADDR=127.0.0.1",
                                          std::format("MASTER_PORT={}", *port)};
    std::vector<char*> environment;
    for (std::string& variable : variables) environment.push_back(variable.data());
    for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
    environment.push_back(nullptr);
    pid_t child = 0;
    if (const int error = ::posix_spawn(&child, arguments[0], &quiet, nullptr, arguments.data(), environment.data());
        error != 0) {
      return std::unexpected(Error{std::format("{}: cannot start it: {}", command[0], std::strerror(error))});
    }
  }
  ::posix_spawn_file_actions_destroy(&quiet);
  return rendezvous;
}

}  // namespace finch::trainer
