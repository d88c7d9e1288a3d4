#include <chrono>
#include <cstdio>
#include <filesystem>
#include <format>
#include <optional>

#include "controller/cli/commands.hpp"
#include "controller/cli/compress_resume.hpp"
#include "controller/cli/farm_host.hpp"
#include "controller/cli/farm_question.hpp"
#include "controller/cli/interrupt.hpp"
#include "controller/compression/compression_report.hpp"
#include "controller/compression/compression_run.hpp"
#include "protocol/input_shape.hpp"

namespace finch::controller {
namespace {

struct Arguments {
  std::string model, data, steps = "distill,prune,quantize", output;
  std::optional<std::int64_t> validation_samples;
  CompressionConfig config;
  bool json = false;
};

ExitCode drive(CompressionRun& run, const std::filesystem::path& folder, bool json) {
  const Interrupt interrupt;
  const auto home = open_home();
  if (!home) return fail(home.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return fail(store.error());
  const auto host = FarmHost::start(*home, "local");
  if (!host) return fail(host.error());
  FarmQuestion farm(*home, *store, "compress " + std::filesystem::absolute(folder).string(), interrupt.token());
  const auto done =
      run.run(*home, {.ask = [&](const JobRequest& request) { return farm.ask(request); },
                      .device = [&](const std::string& device) { return farm.device(device); },
                      .say = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }});
  if (!done) {
    if (done.error().exit_code == ExitCode::interrupted)
      std::fprintf(stderr, "finch: go on with: finch resume %s\n", folder.c_str());
    return fail(done.error());
  }
  const CompressionState& state = run.state();
  std::fputs((json ? compression_json(state) : compression_text(state)).c_str(), stdout);
  if (!json) {
    std::printf("\nThe model: %s. Report: %s\n",
                (folder / "models" / step_file_name(state, state.pipeline.last_kept())).c_str(),
                (folder / "report.html").c_str());
  }
  return ExitCode::done;
}

std::expected<void, Error> check(Arguments& arguments) {
  CompressionConfig& config = arguments.config;
  return name_model(arguments.model, config)
      .and_then([&] { return name_data(arguments.data); })
      .transform([&](DataConfig&& data) {
        data.validation_samples = arguments.validation_samples.value_or(config.data.validation_samples);
        config.data = std::move(data);
      })
      .and_then([&] { return parse_steps(arguments.steps); })
      .and_then([&](std::vector<StepConfig>&& steps) -> std::expected<void, Error> {
        config.pipeline.steps = std::move(steps);
        if (!config.shape.empty()) {
          const auto shape = protocol::parse_input_shape(config.shape);
          if (!shape) return std::unexpected(Error{shape.error().message, ExitCode::usage});
          if (shape->extents_size() != 4) {
            return std::unexpected(
                Error{std::format("--shape {}: images are batch, channels, height, width, as in image=1,3,224,224",
                                  config.shape),
                      ExitCode::usage});
          }
        }
        if (config.mean.size() != config.stddev.size())
          return std::unexpected(Error{"--mean and --stddev need as many values", ExitCode::usage});
        if (!config.teacher.empty()) config.teacher = std::filesystem::absolute(config.teacher).string();
        return {};
      });
}

// Before there is a run folder: a device that there is not is a mistake of the command line's.
std::expected<void, Error> check_device(const std::string& device) {
  const auto home = open_home();
  if (!home) return std::unexpected(home.error());
  auto store = FarmStore::open(home->farm_db());
  if (!store) return std::unexpected(store.error());
  return check_devices({device}, *store);
}

ExitCode compress(Arguments arguments) {
  if (const auto checked = check(arguments); !checked) return fail(checked.error());
  if (const auto checked = check_device(arguments.config.device); !checked) return fail(checked.error());
  std::filesystem::path folder = arguments.output;
  if (folder.empty()) {
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    folder = std::filesystem::path("runs") / std::format("compress-{:%Y%m%d-%H%M%S}", now);
  }
  auto run = CompressionRun::create(arguments.config, folder);
  if (!run) return fail(run.error());
  return drive(**run, folder, arguments.json);
}

}  // namespace

bool is_compression(const std::string& folder) {
  return std::filesystem::exists(std::filesystem::path(folder) / kCompressionDatabase);
}

ExitCode resume_compression(const std::string& folder, bool json) {
  auto run = CompressionRun::open(folder);
  if (!run) return fail(run.error());
  return drive(**run, folder, json);
}

void add_compress_command(CLI::App& app, Command& chosen) {
  const auto arguments = std::make_shared<Arguments>();
  CompressionConfig& config = arguments->config;
  CLI::App* command = app.add_subcommand("compress", "Distil, prune and quantize a model, step by step, with undo");
  command->add_option("--model", arguments->model, "An ONNX file, RUN:c012, or a TOML description with weights")
      ->required();
  command->add_option("--data", arguments->data, "The data set: a folder, or FORMAT:PATH as in idx:/data")->required();
  command->add_option("--device", config.device, "Where it is to run; see finch devices")->capture_default_str();
  command
      ->add_option("--steps", arguments->steps, "In order: distill[=EPOCHS], prune[=SHARE], quantize, cluster[=BITS]")
      ->capture_default_str();
  command->add_option("--max-accuracy-drop", config.pipeline.max_accuracy_drop, "Below the original's, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--gain", config.pipeline.gain,
                   "What prune, quantize and cluster must save (default: latency; cluster: download)")
      ->check(CLI::IsMember(gain_names()));
  command->add_option("--epochs", config.pipeline.epochs, "Of the training after prune and cluster; 0: none")
      ->check(CLI::Range(0.0, 10'000.0))
      ->capture_default_str();
  command
      ->add_option("--calibration", config.quantize.calibration,
                   "Of quantize, how ranges are chosen: minmax, percentile, entropy or mse")
      ->check(CLI::IsMember({"minmax", "percentile", "entropy", "mse"}))
      ->capture_default_str();
  command->add_option("--calibration-images", config.quantize.calibration_images, "Of quantize, of the training images")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command
      ->add_option("--qat-drop", config.quantize.qat_drop,
                   "Of quantize, 0 to 1: where calibration loses more accuracy, more is done")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--qat-epochs", config.quantize.qat_epochs, "Of training with fake quantization then; 0: none")
      ->check(CLI::Range(0.0, 10'000.0))
      ->capture_default_str();
  command->add_flag("--mixed-precision,!--no-mixed-precision", config.quantize.mixed_precision,
                    "Whether quantize may leave layers in fp32 where it loses too much (default: it may)");
  command->add_option("--learning-rate", config.learning_rate, "Peak, of every training")
      ->check(CLI::Range(1e-7, 10.0))
      ->capture_default_str();
  command->add_option("--batch-size", config.batch_size, "Of every training")
      ->check(CLI::Range(2, 65'536))
      ->capture_default_str();
  command->add_flag("--flip", config.flip, "Train on mirrored images too");
  command->add_option("--teacher", config.teacher, "A TorchScript model to learn from (default: the model itself)")
      ->check(CLI::ExistingFile);
  command
      ->add_option("--shape", config.shape,
                   "Shape of the model's input: images are brought to this size (default: as the data have them)")
      ->type_name("NAME=1,3,224,224");
  command->add_option("--mean", config.mean, "Of pixels in [0, 1], a value a channel: for models that do not normalise")
      ->delimiter(',');
  command->add_option("--stddev", config.stddev, "The same of the standard deviation")->delimiter(',');
  command
      ->add_option("--validation-samples", arguments->validation_samples,
                   "Of the training images, to judge by (default: as the model's campaign has it, else a twelfth)")
      ->check(CLI::Range(10, 1'000'000));
  command->add_option("--tier", config.tier, "How long is measured: quick, screen or certify")
      ->check(CLI::IsMember({"quick", "screen", "certify"}))
      ->capture_default_str();
  command->add_option("--device-threads", config.device_threads, "Threads within an operator, on the device")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--provider", config.provider, "Execution provider")->capture_default_str();
  command->add_option("--threads", config.threads, "Of training; 0: all cores")->check(CLI::Range(0, 1024));
  command->add_option("--seed", config.seed, "Of training")->capture_default_str();
  command->add_option("--output", arguments->output, "The run folder (default: runs/compress-DATE-TIME)")
      ->type_name("DIR");
  command->add_flag("--json", arguments->json, "Print compression.json instead of a table");
  command->footer(
      "A step that loses too much accuracy, or does not pay on the device, is undone.\n\nExample:\n"
      "  finch compress --model model.onnx --data idx:/usr/share/datasets/fashion-mnist --device pi-kitchen "
      "--steps distill=2,prune=0.4,quantize");
  command->callback([&chosen, arguments] { chosen = [arguments] { return compress(*arguments); }; });
}

}  // namespace finch::controller
