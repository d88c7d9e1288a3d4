// Campaigns that must be refused, each with the whole message that a person reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <random>

#include "controller/config/campaign_config.hpp"
#include "tests/controller/config/temporary_folder.hpp"

namespace finch::controller {
namespace {

struct BadCampaign {
  const char* name;
  const char* text;
  const char* message;  // without the folder's path
};

// Names the case in a failure and in ctest instead of the address of its text.
void PrintTo(const BadCampaign& bad, std::ostream* out) {
  *out << bad.name;
}

// Four lines that make a good campaign; what follows begins at line 5.
#define GOOD "[data]\npath = \"data\"\n[budget]\nevaluations = 12\n"

const BadCampaign kBad[] = {
    {"MisspeltKey", GOOD "[train]\nepocs = 1\n",
     "campaign.toml:6: key 'train.epocs' is not known; did you mean 'train.epochs'?"},
    {"MisspeltKeyOfALongName", GOOD "[train]\nlearningrate = 0.1\n",
     "campaign.toml:6: key 'train.learningrate' is not known; did you mean 'train.learning_rate'?"},
    {"UnknownKey", GOOD "[finalists]\nzebra = 1\n",
     "campaign.toml:6: key 'finalists.zebra' is not known; known: accuracy_tolerance, count, gain, max_accuracy_drop, "
     "runtimes, seeds, step_epochs, steps"},
    {"MisspeltTable", GOOD "[trian]\nepochs = 1\n", "campaign.toml:5: 'trian' is not known; did you mean 'train'?"},
    {"UnknownTable", GOOD "[zebra-stripes]\n",
     "campaign.toml:5: 'zebra-stripes' is not known; known: baseline, budget, campaign, constraints, data, deploy, "
     "device, "
     "finalists, init, measure, quantize, search, space, teacher, train"},
    {"KeyOutsideOfAnyTable", "seeed = 3\n" GOOD,
     "campaign.toml:1: 'seeed' is not known; known: baseline, budget, campaign, constraints, data, deploy, device, "
     "finalists, init, measure, quantize, search, space, teacher, train"},
    {"KeyInTheWrongTable", GOOD "seed = 3\n",
     "campaign.toml:5: key 'budget.seed' is not known; known: evaluations, hours"},
    {"StringForANumber", GOOD "[train]\nepochs = \"one\"\n",
     "campaign.toml:6: train.epochs: expected a number, got a string"},
    {"FractionForAWholeNumber", GOOD "[train]\nbatch_size = 12.5\n",
     "campaign.toml:6: train.batch_size: expected a whole number, got a number"},
    {"NumberForAFlag", GOOD "[train]\nflip = 1\n",
     "campaign.toml:6: train.flip: expected true or false, got a whole number"},
    {"NumberForAString", GOOD "[campaign]\nname = 5\n",
     "campaign.toml:6: campaign.name: expected a string, got a whole number"},
    {"StringForAList", GOOD "[search]\nobjectives = \"accuracy\"\n",
     "campaign.toml:6: search.objectives: expected a list of strings, got a string"},
    {"NumberInAList", GOOD "[search]\nobjectives = [\"accuracy\", 1]\n",
     "campaign.toml:6: search.objectives: expected a list of strings, found a whole number in it"},
    {"TableAsAValue", GOOD "[campaign]\nx = 1\n", "campaign.toml:6: key 'campaign.x' is not known; known: name, seed"},
    {"ValueForATable", "train = 3\n" GOOD,
     "campaign.toml:1: 'train' is a table: write [train] on a line of its own, its keys below it"},
    {"BaselineOfNothing", GOOD "[[baseline]]\nname = \"mine\"\n",
     "campaign.toml:5: baseline.file: give a file, or a network that Finch trains: one of both"},
    {"BaselineThatIsNotThere", GOOD "[[baseline]]\nfile = \"mine.onnx\"\n",
     "campaign.toml:6: baseline.file: there is no file mine.onnx"},
    {"BaselineTwice", GOOD "[[baseline]]\nnetwork = \"mobilenet_v2\"\nwidth = [1.0, 1.0]\n",
     "campaign.toml:5: baseline.name: there are two baselines 'mobilenet_v2 x1'"},
    {"TableForAListOfTables", GOOD "[device]\nname = \"local\"\n",
     "campaign.toml:5: 'device' is a list of tables: write [[device]]"},
    {"BelowItsRange", GOOD "[search]\npopulation = 2\n", "campaign.toml:6: search.population: 2 is outside 4 .. 10000"},
    {"AboveItsRange", GOOD "[train]\nlabel_smoothing = 1.5\n",
     "campaign.toml:6: train.label_smoothing: 1.5 is outside 0 .. 0.9"},
    {"NegativeSeed", GOOD "[campaign]\nseed = -1\n",
     "campaign.toml:6: campaign.seed: -1 is outside 0 .. 9223372036854775807"},
    {"NotANumber", GOOD "[train]\nepochs = nan\n", "campaign.toml:6: train.epochs: nan is outside 0.001 .. 10000"},
    {"Infinite", "[data]\npath = \"data\"\n[budget]\nhours = inf\n",
     "campaign.toml:4: budget.hours: inf is outside 0.01 .. 10000"},
    {"ImpossibleLatency", GOOD "[constraints]\nlatency_ms = 0\n",
     "campaign.toml:6: constraints.latency_ms: 0 is outside 1e-06 .. 1e+06"},
    {"AccuracyInPercent", GOOD "[constraints]\nmin_macro_f1 = 90\n",
     "campaign.toml:6: constraints.min_macro_f1: 90 is outside 0 .. 1"},
    {"NoProgram", GOOD "[train]\ntrainer = \"command\"\n",
     "campaign.toml:5: train.command: say which program trains, as in command = [\"python3\", \"train.py\"]"},
    {"AProgramForNothing", GOOD "[train]\ncommand = [\"train\"]\n",
     "campaign.toml:6: train.command: it needs trainer = \"command\""},
    {"MisspeltStep", GOOD "[finalists]\nsteps = [\"prun\"]\n",
     "campaign.toml:6: finalists.steps: 'prun' is no step of compression; did you mean 'prune'?; there are distill, "
     "prune, quantize, cluster"},
    {"NoSteps", GOOD "[finalists]\nstep_epochs = 2\n",
     "campaign.toml:6: finalists.step_epochs: it is about steps; name some: steps = [\"prune=0.3\"]"},
    {"StepsOfSeveralTrainings", GOOD "[finalists]\nsteps = [\"prune\"]\nseeds = 3\n",
     "campaign.toml:6: finalists.steps: of several trainings one would be compressed and the others not; take seeds "
     "out"},
    {"NoTraining", GOOD "[finalists]\nseeds = 0\n", "campaign.toml:6: finalists.seeds: 0 is outside 1 .. 100"},
    {"NoCost", GOOD "[search]\nobjectives = [\"macro_f1\", \"accuracy\"]\n",
     "campaign.toml:6: search.objectives: the first objective is accuracy (or balanced_accuracy, macro_f1, "
     "worst_class_recall), and at least one cost follows"},
    {"ImpossibleMemory", GOOD "[constraints]\nmemory_mb = -4\n",
     "campaign.toml:6: constraints.memory_mb: -4 is outside 0.001 .. 1e+06"},
    {"MisspeltObjective", GOOD "[search]\nobjectives = [\"accuracy\", \"latencey\"]\n",
     "campaign.toml:6: search.objectives: 'latencey' is not known; did you mean 'latency'?"},
    {"ObjectiveTwice", GOOD "[search]\nobjectives = [\"accuracy\", \"macs\", \"macs\"]\n",
     "campaign.toml:6: search.objectives: 'macs' is named twice"},
    {"AccuracyNotFirst", GOOD "[search]\nobjectives = [\"latency\", \"accuracy\"]\n",
     "campaign.toml:6: search.objectives: the first objective is accuracy (or balanced_accuracy, macro_f1, "
     "worst_class_recall), and at least one cost follows"},
    {"AccuracyAlone", GOOD "[search]\nobjectives = [\"accuracy\"]\n",
     "campaign.toml:6: search.objectives: the first objective is accuracy (or balanced_accuracy, macro_f1, "
     "worst_class_recall), and at least one cost follows"},
    {"NoObjective", GOOD "[search]\nobjectives = []\n",
     "campaign.toml:6: search.objectives: the first objective is accuracy (or balanced_accuracy, macro_f1, "
     "worst_class_recall), and at least one cost follows"},
    {"MisspeltAlgorithm", GOOD "[search]\nalgorithm = \"nsga3\"\n",
     "campaign.toml:6: search.algorithm: 'nsga3' is not known; did you mean 'nsga2'?"},
    {"MisspeltSpace", GOOD "[space]\nname = \"mobilnet\"\n",
     "campaign.toml:6: space.name: 'mobilnet' is not known; did you mean 'mobilenet'?"},
    {"LoadThatIsNoTable", GOOD "[measure]\nload = 30\n",
     "campaign.toml:6: measure.load: expected a table, as in load = { ... }, got a whole number"},
    {"UnknownKeyOfALoad", GOOD "[measure]\nload = { rate_ms = 30 }\n",
     "campaign.toml:6: key 'measure.load.rate_ms' is not known; did you mean 'measure.load.rate_hz'?"},
    {"UnknownTier", GOOD "[measure]\nsearch_tier = \"thorough\"\n",
     "campaign.toml:6: measure.search_tier: 'thorough' is not known; known: certify, quick, screen"},
    {"MisspeltPrecision", GOOD "[deploy]\nprecision = \"int-8\"\n",
     "campaign.toml:6: deploy.precision: 'int-8' is not known; did you mean 'int8'?"},
    {"UnknownRuntime", GOOD "[deploy]\nruntime = \"tensorflow\"\n",
     "campaign.toml:6: deploy.runtime: 'tensorflow' is not known; known: litert, onnxruntime, openvino"},
    {"UnknownRuntimeOfFinalists", GOOD "[finalists]\nruntimes = [\"tensorflow\"]\n",
     "campaign.toml:6: finalists.runtimes: 'tensorflow' is not a runtime; use onnxruntime, openvino or litert"},
    {"RuntimeTwice", GOOD "[finalists]\nruntimes = [\"onnxruntime\"]\n",
     "campaign.toml:6: finalists.runtimes: 'onnxruntime' is named twice, or is deploy.runtime already"},
    {"EveryRuntimeOfOne", GOOD "[measure]\nevery_runtime = true\n",
     "campaign.toml:6: measure.every_runtime: there is only one; name the others in finalists.runtimes"},
    {"OnnxFilesForLitert",
     GOOD "[train]\ntrainer = \"command\"\ncommand = [\"x\"]\n[finalists]\nruntimes = [\"litert\"]\n",
     "campaign.toml:9: finalists.runtimes: a program of your own gives ONNX files, which litert does not read"},
    {"TwoDevicesOfOneName", GOOD "[[device]]\nname = \"a\"\n[[device]]\nname = \"a\"\n",
     "campaign.toml:8: device.name: there are two devices 'a'"},
    {"ObjectiveOfAnotherDevice",
     GOOD "[search]\nobjectives = [\"accuracy\", \"latency@pj\"]\n[[device]]\nname = \"pi\"\n",
     "campaign.toml:6: search.objectives: 'latency@pj' is not known; did you mean 'latency@pi'?"},
    {"UnknownKeyOfADevice", GOOD "[[device]]\nname = \"a\"\n[[device]]\nprofil = \"local\"\n",
     "campaign.toml:8: key 'device.profil' is not known; did you mean 'device.profile'?"},
    {"NameWithASlash", GOOD "[campaign]\nname = \"a/b\"\n",
     "campaign.toml:6: campaign.name: a name becomes part of a folder's: no slash, no dot in front, not empty"},
    {"EmptyName", GOOD "[campaign]\nname = \"\"\n",
     "campaign.toml:6: campaign.name: a name becomes part of a folder's: no slash, no dot in front, not empty"},
    {"NoData", "[budget]\nhours = 1\n[data]\nformat = \"idx\"\n",
     "campaign.toml:3: data.path: say where the data set lies, as in path = \"/usr/share/datasets/fashion-mnist\""},
    {"DataThatIsNotThere", "[data]\npath = \"birds\"\n[budget]\nhours = 1\n",
     "campaign.toml:2: data.path: there is no birds"},
    {"PackagedDataThatIsNotThere", "[data]\npath = \"datasets/fashion-mnist\"\n[budget]\nhours = 1\n",
     "campaign.toml:2: data.path: there is no datasets/fashion-mnist; install it: apt install dataset-fashion-mnist"},
    {"TeacherThatIsNotThere", GOOD "[teacher]\ntorchscript = \"teacher.pt\"\n",
     "campaign.toml:6: teacher.torchscript: there is no file teacher.pt"},
    {"TeacherThatIsAFolder", GOOD "[teacher]\ntorchscript = \"data\"\n",
     "campaign.toml:6: teacher.torchscript: there is no file data"},
    {"TwoKindsOfTeacher", GOOD "[teacher]\nonnx = \"campaign.toml\"\nmodels = [\"campaign.toml\"]\n",
     "campaign.toml:7: teacher.models: give one of torchscript, onnx, from and models; models holds several"},
    {"TeacherOfNoCampaign", GOOD "[teacher]\nfrom = \"data\"\n",
     "campaign.toml:6: teacher.from: there is no campaign in data"},
    {"FeaturesOfSeveralTeachers", GOOD "[teacher]\nmodels = [\"campaign.toml\"]\n[train]\ndistillation = \"hint\"\n",
     "campaign.toml:8: train.distillation: of a teacher from ONNX or of several, the answers alone are there: train "
     "one, or "
     "name a campaign with one (teacher.from)"},
    {"FeaturesOfASupernet", GOOD "[train]\nmode = \"supernet\"\nteacher_view = \"batch\"\n",
     "campaign.toml:7: train.teacher_view: a supernet learns from cached answers alone: mode = \"standalone\""},
    {"SkippingInOneFile", "[data]\npath = \"data\"\ncorrupt = \"skip\"\n[budget]\nhours = 1\n",
     "campaign.toml:3: data.corrupt: single images can be skipped in format = \"folder\" alone; the other files hold "
     "many"},
    {"NoBudget", "[data]\npath = \"data\"\n[budget]\n",
     "campaign.toml:3: budget.evaluations: a campaign needs an end: give hours, evaluations, or both"},
    {"AllAtOnce", GOOD "[train]\nepocs = 1\nflip = \"no\"\n[serach]\n",
     "campaign.toml:6: key 'train.epocs' is not known; did you mean 'train.epochs'?\n"
     "campaign.toml:7: train.flip: expected true or false, got a string\n"
     "campaign.toml:8: 'serach' is not known; did you mean 'search'?"},
};

class BadCampaignTest : public ::testing::TestWithParam<BadCampaign> {};

TEST_P(BadCampaignTest, IsRefusedWithFileLineKeyAndRemedy) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "data");
  const auto config = load_campaign(folder.write("campaign.toml", GetParam().text));
  ASSERT_FALSE(config) << "accepted:\n" << GetParam().text;
  EXPECT_EQ(config.error().exit_code, ExitCode::usage);
  EXPECT_EQ(folder.without_path(config.error().message), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Campaigns, BadCampaignTest, ::testing::ValuesIn(kBad),
                         [](const auto& test) { return test.param.name; });

struct BadToml {
  const char* name;
  const char* text;
  int line;
};

// Names the case in a failure and in ctest instead of the address of its text.
void PrintTo(const BadToml& bad, std::ostream* out) {
  *out << bad.name;
}

// Texts that are no TOML; the words are the parser's, the place is ours to pass on.
const BadToml kNoToml[] = {
    {"ValueMissing", "[data]\npath =\n", 2},
    {"QuoteMissing", "[data]\npath = \"data\n", 2},
    {"BracketMissing", "[data\n", 1},
    {"KeyTwice", "[data]\npath = \"a\"\npath = \"b\"\n", 3},
    {"TableTwice", "[data]\npath = \"a\"\n[budget]\n[data]\n", 4},
    {"BareWord", "[search]\nalgorithm = nsga2\n", 2},
    {"NotUtf8", "[data]\npath = \"\xff\"\n", 2},
};

class BadTomlTest : public ::testing::TestWithParam<BadToml> {};

TEST_P(BadTomlTest, IsRefusedInOneLineThatSaysWhere) {
  const TemporaryFolder folder;
  const auto config = load_campaign(folder.write("campaign.toml", GetParam().text));
  ASSERT_FALSE(config) << "accepted:\n" << GetParam().text;
  EXPECT_EQ(config.error().exit_code, ExitCode::usage);
  const std::string message = folder.without_path(config.error().message);
  EXPECT_TRUE(message.starts_with("campaign.toml:" + std::to_string(GetParam().line) + ":")) << message;
  EXPECT_NE(message.find("this is not TOML: "), std::string::npos) << message;
  EXPECT_EQ(std::ranges::count(message, '\n'), 0) << message;
}

INSTANTIATE_TEST_SUITE_P(Campaigns, BadTomlTest, ::testing::ValuesIn(kNoToml),
                         [](const auto& test) { return test.param.name; });

// Whatever a text editor or a full disk left of a campaign: an answer, and every line of it names the file.
TEST(DamagedCampaignTest, IsAnErrorAndNotACrash) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "data");
  const auto smallest = load_campaign(folder.write("campaign.toml", GOOD));
  ASSERT_TRUE(smallest) << smallest.error().message;
  CampaignConfig config = *smallest;
  config.constraints.latency_ms = 3;
  const std::string whole = resolved_toml(config);
  const std::string prefix = (folder.path() / "campaign.toml").string() + ":";
  std::mt19937 random(5);
  int refused = 0;
  const auto check = [&](const std::string& text) {
    const auto parsed = parse_campaign(text, folder.path() / "campaign.toml");
    if (parsed) return;
    ++refused;
    EXPECT_EQ(parsed.error().exit_code, ExitCode::usage);
    std::size_t begin = 0;
    while (begin <= parsed.error().message.size()) {
      const std::size_t end = std::min(parsed.error().message.find('\n', begin), parsed.error().message.size());
      EXPECT_EQ(parsed.error().message.substr(begin, prefix.size()), prefix) << parsed.error().message;
      begin = end + 1;
    }
  };
  for (std::size_t size = 0; size < whole.size(); ++size) check(whole.substr(0, size));
  for (int round = 0; round < 500; ++round) {
    std::string text = whole;
    for (int change = 0; change < 3; ++change) text[random() % text.size()] = "\"[]=.\n #x1-\xff"[random() % 12];
    check(text);
    if (HasFailure()) FAIL() << text;
  }
  EXPECT_GT(refused, 500);
}

TEST(AbsentCampaignTest, IsNamed) {
  const TemporaryFolder folder;
  const auto config = load_campaign(folder.path() / "absent.toml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().exit_code, ExitCode::usage);
  EXPECT_EQ(folder.without_path(config.error().message), "absent.toml: cannot read: No such file or directory");
}

#undef GOOD

}  // namespace
}  // namespace finch::controller
