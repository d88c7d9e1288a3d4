#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <format>
#include <fstream>
#include <nlohmann/json.hpp>

#include "controller/cli/commands.hpp"
#include "controller/compression/compression_config.hpp"
#include "controller/config/campaign_config.hpp"
#include "controller/config/toml_reader.hpp"
#include "controller/farm/home.hpp"

namespace finch::controller {
namespace {

struct InitOptions {
  std::string data = "/usr/share/datasets/fashion-mnist", device = "local", profile = "local", output = "campaign.toml";
};

// Runs a program and gives its stdout; its stderr goes where ours goes.
std::expected<std::string, Error> output_of(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return std::unexpected(Error{"cannot make a pipe"});
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t count; (count = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(count));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 127)
    return std::unexpected(Error{arguments[0] + " could not be run; build it: scripts/build finch-trainer"});
  if (WEXITSTATUS(status) != 0)
    return std::unexpected(Error{"the data set cannot be used, as said above", ExitCode::usage});
  return text;
}

std::string campaign_text(const InitOptions& options, const DataConfig& data, const nlohmann::json& facts) {
  const auto number = [&](const char* key) { return facts.at(key).get<std::int64_t>(); };
  const std::int64_t train = number("train_samples");
  const std::int64_t validation = std::clamp<std::int64_t>(train / 12, 10, 10000);
  // Passes over the data in which a network sees about 20,000 images.
  const double epochs =
      std::clamp(20000.0 / static_cast<double>(std::max<std::int64_t>(1, train - validation)), 0.1, 10.0);
  const std::string name = std::filesystem::path(options.output).stem().string();
  std::string text;
  text += std::format("# Written by: finch init --data {} --device {}\n", toml_string(options.data),
                      toml_string(options.device));
  text += std::format("# The data: {} classes, {} training and {} test images of {} x {} x {}.\n\n",
                      facts.at("class_names").size(), train, number("test_samples"), number("channels"),
                      number("height"), number("width"));
  text += std::format("[campaign]\nname = {}\nseed = 1                        # same seed, same proposals\n\n",
                      toml_string(name));
  text += std::format(
      "[data]\nformat = \"{}\"\npath = {}\nvalidation_samples = {}        # kept from the training images; the "
      "test images are for the end\n\n",
      data.format, toml_string(data.path), validation);
  text +=
      "[space]\nname = \"mobilenet\"               # inverted residuals; or shufflenet, nasbench201\n"
      "# file = \"my_space.toml\"         # or a space of your own instead of the name; see docs/spaces.md\n\n";
  text +=
      "[search]\nalgorithm = \"surrogate\"          # what needs the fewest evaluations; others: "
      "docs/search.md\nobjectives = [\"accuracy\", "
      "\"latency\"]\n\n";
  text +=
      "[constraints]                   # a candidate beyond one is never trained\n# latency_ms = 10.0\n# parameters = "
      "500000\n\n";
  text += "[budget]                        # whichever is reached first\nhours = 2.0\nevaluations = 60\n\n";
  text += "[teacher]\nepochs = 4.0                    # trained once, kept for later campaigns on these data\n\n";
  text += std::format(
      "[train]\nmode = \"supernet\"              # shared weights, trained once for all candidates; \"standalone\" "
      "trains each\nsupernet_epochs = {:.2f}          # more order networks better; see docs/training.md\n"
      "finalist_epochs = {:.2f}          # of a finalist\n\n",
      6 * epochs, 4 * epochs);
  text += "[finalists]\ncount = 8\n\n";
  text +=
      "[deploy]                        # what is not said here comes from the device's profile\nruntime = "
      "\"onnxruntime\"\nbatch = 1\n\n";
  text +=
      "[measure]                       # \"quick\" takes about 6 s a model, \"screen\" 20 s, \"certify\" 2 to 3 "
      "minutes\nsearch_tier = \"screen\"\nfinalist_tier = \"certify\"\n\n";
  text +=
      std::format("[[device]]\nname = {}\nprofile = {}\n", toml_string(options.device), toml_string(options.profile));
  return text;
}

ExitCode init(InitOptions options) {
  if (std::filesystem::exists(options.output)) {
    return fail({std::format("{}: is there already; name another file with --output, or remove it", options.output),
                 ExitCode::usage});
  }
  const auto data = name_data(options.data);
  if (!data) return fail(data.error());
  if (const auto profile = load_profile(options.profile); !profile) return fail(profile.error());
  const auto inspected =
      output_of({program_folder() / "finch-trainer", "inspect", "--format", data->format, data->path, "--json"});
  if (!inspected) return fail(inspected.error());
  const auto facts = nlohmann::json::parse(*inspected, nullptr, false);
  if (facts.is_discarded())
    return fail({"finch-trainer inspect gave no JSON; finch and finch-trainer are of different versions"});
  const std::string text = campaign_text(options, *data, facts);
  if (const auto parsed = parse_campaign(text, options.output); !parsed) return fail(parsed.error());
  std::ofstream file(options.output);
  file << text;
  if (!file.flush()) return fail({options.output + ": cannot write"});
  std::fprintf(stderr, "Wrote %s. See what it would take: finch plan %s\n", options.output.c_str(),
               options.output.c_str());
  return ExitCode::done;
}

}  // namespace

void add_init_command(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<InitOptions>();
  CLI::App* command = app.add_subcommand("init", "Look at a data set and write a commented campaign for it");
  command
      ->add_option("--data", options->data,
                   "Folder with IDX files, CIFAR's binary files, or one folder of images a class")
      ->type_name("DIR");
  command->add_option("--device", options->device, "The device to fit (see: finch devices)")->type_name("NAME");
  command->add_option("--profile", options->profile, "Its profile (see profiles/)")->type_name("NAME");
  command->add_option("--output", options->output, "The file to write (default campaign.toml)")->type_name("FILE");
  command->footer("Example:\n  finch init --data photos/ --device pi-kitchen --profile raspberry-pi-5");
  command->callback([&chosen, options] { chosen = [options] { return init(*options); }; });
}

}  // namespace finch::controller
