// Processes that train together, as real processes that meet on this machine.
#include "trainer/process_group.hpp"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "tests/trainer/temporary_folder.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

TEST(Rendezvous, IsOneProcessWhereTorchrunSaysNothing) {
  EXPECT_EQ(rendezvous_from_environment()->processes, 1);
}

TEST(Rendezvous, TakesTorchrunsVariables) {
  const Variable rank("RANK", "2"), world("WORLD_SIZE", "4"), address("MASTER_ADDR", "10.0.0.7"),
      port("MASTER_PORT", "29501"), here("LOCAL_WORLD_SIZE", "2"), served("TORCHELASTIC_USE_AGENT_STORE", "True");
  const auto rendezvous = rendezvous_from_environment();
  ASSERT_TRUE(rendezvous) << rendezvous.error().message;
  EXPECT_EQ(rendezvous->rank, 2);
  EXPECT_EQ(rendezvous->processes, 4);
  EXPECT_EQ(rendezvous->processes_here, 2);
  EXPECT_EQ(rendezvous->address, "10.0.0.7");
  EXPECT_EQ(rendezvous->port, 29501);
  EXPECT_TRUE(rendezvous->served);
}

TEST(Rendezvous, NamesTheVariableThatIsWrong) {
  const Variable world("WORLD_SIZE", "4");
  EXPECT_THAT(rendezvous_from_environment().error().message, HasSubstr("RANK"));
  const Variable rank("RANK", "4");
  EXPECT_THAT(rendezvous_from_environment().error().message, HasSubstr("0 to 3"));
}

Batch batch_of(const torch::Tensor& images) {
  const torch::Tensor indices = torch::arange(images.size(0));
  return {images, indices, indices, torch::zeros_like(indices), 1};
}

// The gradient of a linear model's mean squared error over a batch, of which every process has its part.
std::pair<torch::Tensor, double> gradient_of(ProcessGroup& group, const torch::Tensor& images) {
  const torch::Tensor weight = torch::linspace(-1, 1, images.size(1)).requires_grad_();
  const Batch whole = batch_of(images), part = group.own_part(whole).value();
  const torch::Tensor error = part.images.matmul(weight) - part.labels.to(torch::kFloat);
  const torch::Tensor loss = share_of(part, whole) * error.square().mean();
  loss.backward();
  const double mean = group.sum_gradients({weight}, loss.item<double>());
  return {weight.grad(), mean};
}

// In a child process. REQUIRES: this one has computed no gradients, whose threads would not survive the fork.
int run_as(int rank, int processes, std::uint16_t port, const std::function<bool(ProcessGroup&)>& check) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  at::set_num_threads(1);
  bool good = false;
  if (auto group = ProcessGroup::meet({.rank = rank, .processes = processes, .port = port}, torch::kCPU))
    good = check(**group);
  ::_exit(good ? 0 : 1);
}

void expect_at_each_of(int processes, const std::function<bool(ProcessGroup&)>& check) {
  const std::uint16_t port = free_port().value();
  std::vector<int> children;
  for (int rank = 0; rank < processes; ++rank) children.push_back(run_as(rank, processes, port, check));
  for (const int child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
}

TEST(ProcessGroup, GivesTheGradientOfTheWholeBatchAtEveryProcess) {
  torch::manual_seed(3);
  const torch::Tensor images = torch::randn({7, 5});  // parts of 2, 2 and 3 rows
  const torch::Tensor error = images.matmul(torch::linspace(-1, 1, 5)) - torch::arange(7);
  const torch::Tensor expected = images.t().matmul(error) * 2 / 7;
  const double loss = error.square().mean().item<double>();
  expect_at_each_of(3, [&](ProcessGroup& group) {
    const auto [gradient, mean] = gradient_of(group, images);
    return torch::allclose(gradient, expected, 1e-5, 1e-6) && std::abs(mean - loss) < 1e-5;
  });
}

TEST(ProcessGroup, HandsOnTheLeadersBytes) {
  const std::string bytes("a\0b", 3);
  expect_at_each_of(2, [&](ProcessGroup& group) {
    return group.from_leader(group.leads() ? bytes : "mine") == bytes && group.from_leader("").empty();
  });
}

TEST(ProcessGroup, KnowsEverywhereThatOneProcessCannotBegin) {
  expect_at_each_of(2, [](ProcessGroup& group) {
    const std::string said = group.any_error(group.leads() ? "" : "no data here");
    return group.any_error("").empty() && said.contains(group.leads() ? "another process" : "no data here");
  });
}

TEST(ProcessGroup, SaysWhereItWaitedInVain) {
  const auto group = ProcessGroup::meet({.rank = 1, .processes = 2, .address = "no-such-host.invalid", .port = 1},
                                        torch::kCPU, std::chrono::seconds(1));
  ASSERT_FALSE(group);
  EXPECT_THAT(group.error().message, HasSubstr("process 1 of 2"));
  EXPECT_THAT(group.error().message, HasSubstr("no-such-host.invalid:1"));
}

}  // namespace
}  // namespace finch::trainer
