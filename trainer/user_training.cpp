#include "trainer/user_training.hpp"

#include <format>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "trainer/onnx_check.hpp"

namespace finch::trainer {
namespace {

std::expected<void, Error> write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  if (!file) return std::unexpected(Error{path.string() + ": cannot be written"});
  return {};
}

std::expected<std::string, Error> read_model(const std::filesystem::path& path, const UserTask& task) {
  std::ifstream file(path, std::ios::binary);
  const std::string name = path.filename().string();
  if (!file) return std::unexpected(Error{name + ": the program did not write it"});
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto good = check_classifier(bytes, task.image, std::ssize(task.class_names));
  if (!good) return std::unexpected(Error{name + ": " + good.error().message});
  return bytes;
}

}  // namespace

std::expected<UserModel, Error> train_with_program(const UserTask& task, const std::string& network,
                                                   const std::optional<std::filesystem::path>& parent,
                                                   UserProgram program, const std::filesystem::path& files,
                                                   const std::function<void(double)>& waiting) {
  const nlohmann::ordered_json job = {{"format", 1},
                                      {"stage", task.finalist ? "finalist" : "search"},
                                      {"space", task.space},
                                      {"genotype", task.genotype},
                                      {"data", task.data},
                                      {"image", {task.image.channels, task.image.height, task.image.width}},
                                      {"classes", task.class_names},
                                      {"budget", {{"epochs", task.epochs}, {"seconds", program.timeout_seconds}}},
                                      {"seed", task.seed}};
  std::error_code error;
  std::filesystem::create_directories(files, error);
  if (parent && !error) std::filesystem::copy_file(*parent, files / "parent.onnx", error);
  if (error) return std::unexpected(Error{std::format("{}: cannot be written: {}", files.string(), error.message())});
  if (auto written =
          write(files / "job.json", job.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
      !written)
    return std::unexpected(written.error());
  if (auto written = write(files / "network.onnx", network); !written) return std::unexpected(written.error());

  program.command.push_back(files.string());
  program.log = files / "output.txt";
  const auto seconds = run_program(program, waiting);
  if (!seconds) return std::unexpected(seconds.error());
  UserModel model;
  model.seconds = *seconds;
  auto metrics = read_metrics(files / "metrics.json");
  if (!metrics) return std::unexpected(metrics.error());
  model.metrics = std::move(*metrics);
  auto fp32 = read_model(files / "model.onnx", task);
  if (!fp32) return std::unexpected(fp32.error());
  model.fp32 = std::move(*fp32);
  if (std::filesystem::exists(files / "model-int8.onnx", error)) {
    auto int8 = read_model(files / "model-int8.onnx", task);
    if (!int8) return std::unexpected(int8.error());
    model.int8 = std::move(*int8);
  }
  return model;
}

}  // namespace finch::trainer
