#include "agent/engine_build.hpp"

#include <algorithm>
#include <format>
#include <optional>
#include <system_error>

#include "agent/device_facts.hpp"
#include "agent/engine_cache.hpp"
#include "agent/launch_rights.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::agent {
namespace {

namespace fs = std::filesystem;

// OpenVINO can, but a model from its cache takes 8 % less memory than one from its file, and that is what is deployed.
bool keeps_engines(const protocol::Deploy& deploy) {
  return deploy.runtime() == "onnxruntime" && deploy.provider() == "tensorrt";
}

// With the weights that lie in other files; of those that are not there the launch will complain.
std::expected<std::string, Error> hash_of_model(const fs::path& model) {
  const auto file = protocol::sha256_of_file(model);
  if (!file) return std::unexpected(Error{file.error().message});
  std::string hashes = *file;
  for (const fs::path& weights : weights_of(model)) hashes += protocol::sha256_of_file(weights).value_or("");
  return hashes;
}

std::string deploy_text(const LaunchRequest& base) {
  std::string text = std::format("{} {} threads, batch {}", base.provider(), base.threads(), base.batch());
  for (const protocol::InputShape& shape : base.shapes()) {
    text += std::format(", {}=", shape.name());
    for (const std::int64_t extent : shape.extents()) text += std::format("{},", extent);
  }
  return text;
}

}  // namespace

EngineSettings engines_on(const protocol::DeviceDescription& device, const protocol::Deploy& deploy,
                          const fs::path& state_folder) {
  if (state_folder.empty() || !keeps_engines(deploy)) return {};
  EngineSettings settings{.folder = state_folder / "engines",
                          .processor = device.gpu().empty() ? device.cpu_model() : device.gpu(),
                          .power_mode = device.power_mode()};
  const auto found = std::ranges::find(device.runtimes(), deploy.runtime(), &protocol::RuntimeDescription::name);
  if (found == device.runtimes().end()) return settings;
  settings.runtime_version = found->version();
  settings.builder = found->engine_builder();
  return settings;
}

EngineSettings engines_here(const protocol::Deploy& deploy, const SystemFiles& files, const RuntimeLibraries& libraries,
                            const Launcher& launcher, const fs::path& state_folder) {
  const InferenceRuntime* runtime = find_runtime(deploy.runtime());
  if (runtime == nullptr || !keeps_engines(deploy)) return {};
  const auto probed = probe_runtime(*runtime, library_of(libraries, deploy.runtime()), launcher);
  if (!probed) return {};
  protocol::DeviceDescription device = read_device(files);
  *device.add_runtimes() = *probed;
  return engines_on(device, deploy, state_folder);
}

std::expected<PreparedEngine, Error> prepare_engine(const LaunchRequest& base, const EngineSettings& settings,
                                                    const Launcher& launcher, const std::function<void()>& on_build,
                                                    const std::stop_token& stop) {
  if (settings.folder.empty()) return PreparedEngine{};
  const auto model = hash_of_model(base.model());
  if (!model) return std::unexpected(model.error());
  // What TensorRT learns of kernels' times serves all models; a broken one is learnt anew.
  const fs::path timings =
      settings.folder / "timings" /
      engine_key({.builder = settings.builder, .processor = settings.processor, .power_mode = settings.power_mode});
  PreparedEngine prepared;
  std::optional<Error> broken;  // the build itself, not the keeping
  const auto build = [&](const fs::path& folder) -> std::expected<void, Error> {
    on_build();
    std::error_code error;
    fs::create_directories(timings, error);
    LaunchRequest request = base;
    request.set_engine_folder(folder.string());
    request.mutable_build_engine()->set_timing_folder(timings.string());
    const auto event = launcher(request, {}, stop);
    if (event && event->has_engine()) {
      prepared.build_seconds = event->engine().seconds();
      return {};
    }
    fs::remove_all(timings, error);
    broken = event ? Error{"the measuring process gave an incomplete result", true} : event.error();
    return std::unexpected(*broken);
  };
  const auto kept = EngineCache(settings.folder)
                        .obtain(engine_key({.model_sha256 = *model,
                                            .runtime = base.runtime(),
                                            .runtime_version = settings.runtime_version,
                                            .builder = settings.builder,
                                            .processor = settings.processor,
                                            .power_mode = settings.power_mode,
                                            .deploy = deploy_text(base)}),
                                build, stop);
  if (broken) return std::unexpected(*broken);
  if (stop.stop_requested()) return std::unexpected(Error{"stopped", true});
  if (kept) {
    prepared.folder = kept->folder;
  } else {
    prepared.problem = kept.error().message;
  }
  return prepared;
}

}  // namespace finch::agent
