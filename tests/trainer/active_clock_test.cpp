#include "trainer/active_clock.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace finch::trainer {
namespace {

// The child counts 300 ms of its own time, during which this process stops it for a second and a half.
TEST(ActiveClock, StandsStillWhileTheProcessIsStopped) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const ActiveClock clock;
    const auto start = std::chrono::steady_clock::now();
    char started = 1;
    (void)!::write(pipe_ends[1], &started, 1);
    double active = 0;
    while ((active = clock.seconds()) < 0.3) ::usleep(1000);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    ::_exit(wall.count() > active + 1 ? 0 : 1);
  }
  char started = 0;
  ASSERT_EQ(::read(pipe_ends[0], &started, 1), 1);
  ::kill(child, SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  ::usleep(1'500'000);
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

}  // namespace
}  // namespace finch::trainer
