#include "protocol/job_process.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "temporary_folder.hpp"

namespace finch::protocol {
namespace {

using testing::HasSubstr;

std::string child_program() {
  return std::string(std::getenv("FINCH_BIN")) + "/job_process_child";
}

JobProcess start(const std::string& log = {}, const std::vector<std::string>& environment = {}) {
  return JobProcess::start({child_program()}, log, environment).value();
}

ChildRequest wish(const std::string& text) {
  ChildRequest request;
  request.set_output_folder(text);
  return request;
}

// The result's text, or why there is none.
std::string outcome_of(JobProcess& process, const ChildRequest& request, std::stop_token stop = {}) {
  const auto event = process.run(request, [](const ChildEvent&) {}, stop);
  return event ? event->result().failure().message() : event.error().message;
}

// States of all threads as the kernel tells them: "TT" when stopped, empty when the process is gone.
std::string thread_states(pid_t pid) {
  std::string states;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/" + std::to_string(pid) + "/task", error), end;
       !error && it != end; it.increment(error)) {
    const std::string text = read_whole_file(it->path() / "stat").value_or("");
    const std::size_t name_end = text.rfind(')');
    if (name_end != std::string::npos && name_end + 2 < text.size()) states.push_back(text[name_end + 2]);
  }
  return states;
}

TEST(JobProcess, ServesOneJobAfterAnother) {
  JobProcess process = start();
  for (const std::string& text : {std::string("one"), std::string("two"), std::string(3'000'000, 'x')}) {
    ChildRequest request = wish("echo");
    request.mutable_job()->mutable_measure()->set_device(text);
    EXPECT_EQ(outcome_of(process, request), text);
  }
  EXPECT_TRUE(process.alive());
}

TEST(JobProcess, HandsOnProgressInOrder) {
  JobProcess process = start();
  std::vector<double> fractions;
  const auto result = process.run(
      wish("progress"), [&](const ChildEvent& event) { fractions.push_back(event.progress().fraction()); }, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(fractions, testing::ElementsAre(0.25, 0.5, 0.75));
}

TEST(JobProcess, EnvironmentLogAndDescriptors) {
  const TemporaryFolder folder;
  ::setenv("FINCH_TEST_INHERITED", "old", 1);
  const int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  const std::string log = (folder / "child.log").string();
  JobProcess process = start(log, {"FINCH_TEST_INHERITED=new", "FINCH_TEST_OWN=1"});
  ::close(leaked);
  EXPECT_EQ(outcome_of(process, wish("getenv FINCH_TEST_INHERITED")), "new");
  EXPECT_EQ(outcome_of(process, wish("getenv FINCH_TEST_OWN")), "1");
  EXPECT_EQ(outcome_of(process, wish("getenv PATH")), std::getenv("PATH"));
  EXPECT_EQ(outcome_of(process, wish("descriptors")), "0 1 2 3 ");
  EXPECT_EQ(outcome_of(process, wish("log")), "logged");
  EXPECT_EQ(read_whole_file(log), "to stdout\nto stderr\n");
}

TEST(JobProcess, WhatCannotBeStartedIsNamed) {
  const TemporaryFolder folder;
  const auto missing = JobProcess::start({(folder / "nowhere").string()});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("nowhere"));
  std::ofstream(folder / "text") << "no program";
  EXPECT_FALSE(JobProcess::start({(folder / "text").string()}));
  const auto no_log = JobProcess::start({child_program()}, (folder / "no/such/log").string());
  ASSERT_FALSE(no_log);
  EXPECT_THAT(no_log.error().message, HasSubstr("no/such/log"));
}

TEST(JobProcess, DeathIsDescribed) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> cases{
      {"exit 3", "exit status 3"}, {"abort", "signal 6 (Aborted)"}, {"killed", "signal 9 (Killed), perhaps"}};
  for (const auto& [how, description] : cases) {
    JobProcess process = start((folder / "child.log").string());
    const std::string outcome = outcome_of(process, wish(how));
    EXPECT_THAT(outcome, HasSubstr(description));
    EXPECT_THAT(outcome, HasSubstr("child.log"));
    EXPECT_FALSE(process.alive());
    EXPECT_THAT(outcome_of(process, wish("echo")), HasSubstr(description)) << "and again";
    process.pause();
    process.resume();
  }
}

TEST(JobProcess, AChildThatBreaksTheRulesIsKilled) {
  JobProcess garbage = start();
  EXPECT_THAT(outcome_of(garbage, wish("garbage")), HasSubstr("no event"));
  EXPECT_FALSE(garbage.alive());
  JobProcess mute = start();
  EXPECT_THAT(outcome_of(mute, wish("close events")), HasSubstr("signal 9"));
  EXPECT_FALSE(mute.alive());
}

TEST(JobProcess, StopKillsTheChildAlsoWhilePaused) {
  for (const bool paused : {false, true}) {
    JobProcess process = start();
    std::stop_source stop;
    const auto result = process.run(
        wish("spin"),
        [&](const ChildEvent&) {
          if (paused) process.pause();
          stop.request_stop();
        },
        stop.get_token());
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("stopped on request"));
    EXPECT_FALSE(process.alive());
  }
  std::stop_source before;
  before.request_stop();
  JobProcess process = start();
  EXPECT_THAT(outcome_of(process, wish("hang"), before.get_token()), HasSubstr("stopped on request"));
}

TEST(JobProcess, AStopAfterTheResultDoesNotHitTheNextJob) {
  JobProcess process = start();
  std::stop_source stop;
  EXPECT_EQ(outcome_of(process, wish("echo"), stop.get_token()), "");
  stop.request_stop();
  EXPECT_EQ(outcome_of(process, wish("echo")), "");
}

TEST(JobProcess, PauseReturnsWhenAllThreadsStandStill) {
  JobProcess process = start();
  std::stop_source stop;
  pid_t pid = 0;
  (void)process.run(
      wish("spin"),
      [&](const ChildEvent& event) {
        pid = std::stoi(event.progress().message());
        for (int i = 0; i < 20; ++i) {
          process.pause();
          EXPECT_THAT(thread_states(pid), testing::MatchesRegex("T+"));
          process.pause();  // twice does no harm
          process.resume();
          EXPECT_THAT(thread_states(pid), testing::Not(HasSubstr("T")));
        }
        stop.request_stop();
      },
      stop.get_token());
  EXPECT_EQ(thread_states(pid), "");
}

TEST(JobProcess, PausesAnIdleChildAndFromOtherThreads) {
  JobProcess process = start();
  const pid_t pid = std::stoi(outcome_of(process, wish("pid")));
  process.pause();
  EXPECT_EQ(thread_states(pid), "T");
  std::jthread later([&] { process.resume(); });
  EXPECT_EQ(outcome_of(process, wish("pid")), std::to_string(pid));
  later.join();
  std::jthread pausing([&] {
    for (int i = 0; i < 50; ++i) {
      process.pause();
      process.resume();
    }
  });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(outcome_of(process, wish("pid")), std::to_string(pid));
}

TEST(JobProcess, TheDestructorKillsAndReaps) {
  pid_t pid = 0;
  {
    JobProcess process = start();
    pid = std::stoi(outcome_of(process, wish("pid")));
    EXPECT_NE(thread_states(pid), "");
    JobProcess moved = std::move(process);
    EXPECT_EQ(outcome_of(moved, wish("pid")), std::to_string(pid));
  }
  EXPECT_EQ(thread_states(pid), "");
}

TEST(JobProcess, TheChildDiesWithItsParent) {
  std::FILE* worker = ::popen(("exec " + child_program() + " die-with-child").c_str(), "r");
  ASSERT_NE(worker, nullptr);
  int pid = 0;
  ASSERT_EQ(std::fscanf(worker, "%d", &pid), 1);
  // Readable when the process is gone; it is not ours to wait for.
  const Descriptor child(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (child) {
    pollfd gone{child.get(), POLLIN, 0};
    EXPECT_EQ(::poll(&gone, 1, 30'000), 1);
  }
  EXPECT_THAT(thread_states(pid), testing::MatchesRegex("Z*"));
  ::pclose(worker);
}

}  // namespace
}  // namespace finch::protocol
