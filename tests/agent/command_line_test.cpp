// The program finch-agent as people and scripts use it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "agent/remembered_controller.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Finished {
  int status = 0;
  std::string out, err;
};

class CommandLine : public testing::Test {
 protected:
  Finished run(const std::string& arguments) const {
    const auto out = folder_.path() / "out";
    const auto err = folder_.path() / "err";
    const std::string command =
        agent_program().string() + " " + arguments + " >" + out.string() + " 2>" + err.string() + " </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_whole(out), read_whole(err)};
  }
  static int lines(const std::string& text) { return static_cast<int>(std::ranges::count(text, '\n')); }
  TemporaryFolder folder_;
};

TEST_F(CommandLine, EveryHelpHasAnExample) {
  for (const char* command : {"", "run", "join", "measure", "infer", "facts", "check", "probe", "runtimes"}) {
    const Finished finished = run(std::string(command) + " --help");
    EXPECT_EQ(finished.status, 0) << command;
    EXPECT_THAT(finished.out, AllOf(HasSubstr("Example"), HasSubstr("finch-agent"))) << command;
    EXPECT_THAT(finished.out, Not(HasSubstr("measure-launch"))) << command;
  }
}

TEST_F(CommandLine, MeasuresAsJsonWithoutNoise) {
  const std::string raw = (folder_.path() / "raw.f64").string();
  const Finished finished =
      run("measure " + reference_model().string() + " --tier quick --precision fp32 --json --raw " + raw);
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(lines(finished.out), 1);
  for (const char* key : {"\"device\": ", "\"verdict\": ", "\"latency_ms\": {\"median\": ", "\"memory_bytes\": ",
                          "\"energy_mj\": null", "\"tier\": \"quick\"", "\"raw\": \""}) {
    EXPECT_THAT(finished.out, HasSubstr(key));
  }
  EXPECT_GT(std::filesystem::file_size(raw), 8U * 12U);
}

TEST_F(CommandLine, InfersAndPrintsTheShape) {
  const std::filesystem::path input = folder_.write("in.bin", std::string(16, '\0'));
  const std::string output = (folder_.path() / "out.bin").string();
  const std::string command =
      "infer " + test_model("brightest").string() + " --input " + input.string() + " --output " + output;
  const Finished good = run(command + " --shape 1,1,2,2");
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_EQ(good.out, "1,4\n");
  EXPECT_EQ(std::filesystem::file_size(output), 16U);
  const Finished wrong_size = run(command + " --shape 2,1,2,2");
  EXPECT_EQ(wrong_size.status, 2);
  EXPECT_THAT(wrong_size.err, HasSubstr("has 16 bytes; the shape asks for 32"));
  EXPECT_EQ(run(command + " --shape 1,x").status, 2);
}

TEST_F(CommandLine, TellsTheFacts) {
  const Finished finished = run("facts --json");
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(finished.err, "");
  EXPECT_THAT(finished.out, AllOf(HasSubstr("\"onnxruntime\""), HasSubstr("energy: "), HasSubstr("\"state_hash\"")));
}

TEST_F(CommandLine, ProbesTheBoardBelowARoot) {
  folder_.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
  folder_.write("sys/class/thermal/thermal_zone0/temp", "48200\n");
  const Finished finished = run("probe --json --sysfs-root " + folder_.path().string());
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(lines(finished.out), 1);
  EXPECT_THAT(finished.out, HasSubstr(R"("total_power": null, "thermal": [{"type": "cpu-thermal", "celsius": 48.2}])"));
  EXPECT_EQ(run("probe --sysfs-root /nowhere").status, 2);
}

TEST_F(CommandLine, WrongInputIsOneLineAndStatus2) {
  const std::string damaged = folder_.write("damaged.onnx", "nonsense").string();
  for (const std::string& arguments :
       std::vector<std::string>{"measure", "measure " + damaged, "measure /nowhere.onnx",
                                "measure --tier no " + damaged, "measure --threads 0 " + damaged, "nonsense",
                                "--nonsense", "measure " + reference_model().string() + " --onnxruntime /nowhere.so",
                                "measure " + reference_model().string() + " --batch 5", "run --state " + damaged + ".d",
                                "run --controller nonsense", "join --controller x"}) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.status, 2) << arguments;
    EXPECT_EQ(lines(finished.err), 1) << arguments << ": " << finished.err;
    EXPECT_THAT(finished.err, testing::StartsWith("finch-agent: ")) << arguments;
    EXPECT_EQ(finished.out, "") << arguments;
  }
}

TEST_F(CommandLine, ADeviceWithoutAnIdentityIsToldHowToJoin) {
  const Finished finished =
      run("--controller 127.0.0.1:1 --state " + (folder_.path() / "state").string() + " --name x");
  EXPECT_EQ(finished.status, 2);
  EXPECT_THAT(finished.err, HasSubstr("finch devices invite"));
}

TEST(Endpoint, IsParsedAndPrinted) {
  EXPECT_EQ(parse_endpoint("localhost:7447"), std::pair(std::string("localhost"), std::uint16_t{7447}));
  EXPECT_EQ(parse_endpoint("[fe80::1]:65535"), std::pair(std::string("fe80::1"), std::uint16_t{65535}));
  EXPECT_EQ(format_endpoint("fe80::1", 7), "[fe80::1]:7");
  EXPECT_EQ(format_endpoint("pi.local", 7), "pi.local:7");
  for (const char* wrong : {"", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "fe80::1:1"}) {
    EXPECT_FALSE(parse_endpoint(wrong)) << wrong;
  }
}

TEST(RememberedControllerTest, IsKept) {
  const TemporaryFolder folder;
  const std::filesystem::path state = folder.path() / "new" / "state";
  EXPECT_FALSE(recall_controller(state)->has_value());
  ASSERT_TRUE(remember_controller(state, {"fe80::1", 7447, "pi-4-kitchen", "raspberry-pi-4"}));
  const auto recalled = recall_controller(state);
  ASSERT_TRUE(recalled && *recalled);
  EXPECT_EQ((*recalled)->host, "fe80::1");
  EXPECT_EQ((*recalled)->port, 7447);
  EXPECT_EQ((*recalled)->name, "pi-4-kitchen");
  EXPECT_EQ((*recalled)->profile, "raspberry-pi-4");
  folder.write("new/state/controller", "nonsense");
  EXPECT_FALSE(recall_controller(state));
}

}  // namespace
}  // namespace finch::agent
