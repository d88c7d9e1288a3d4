#include "search/search_space.hpp"
#include "search/cost_model.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/teacher.hpp"
#include "trainer/training.hpp"
#include "trainer/active_clock.hpp"
#include <print>
#include <fstream>
using namespace finch; using namespace finch::trainer;
int main(int argc, char** argv) {
  at::globalContext().setFlushDenormal(true);
  auto E = [](const char* n, double d) { const char* v = getenv(n); return v ? atof(v) : d; };
  at::set_num_threads((int)E("THREADS", 2));
  auto data = load_dataset({"idx", "/usr/share/datasets/fashion-mnist", 5000, 1});
  if (!data) { std::println("{}", data.error().message); return 1; }
  torch::manual_seed((uint64_t)E("SEED", 1));
  search::Network net;
  std::string mode = argc > 1 ? argv[1] : "teacher";
  if (mode == "teacher") net = *teacher_network({data->train.channels, 28, 28}, 10);
  else {
    auto space = *search::make_search_space({"mobilenet", {1, 28, 28}, 10});
    net = *space->decode(*search::parse_genotype(argv[2]));
  }
  auto cost = search::cost_of(net);
  NetworkModule m(net, data->mean, data->stddev);
  TrainingOptions o{.epochs = E("EPOCHS", 1), .batch_size = (int64_t)E("BS", 128), .learning_rate = E("LR", 0.1), .weight_decay = E("WD", 5e-4),
    .loss = {.label_smoothing = E("LS", 0.1), .temperature = E("TEMP", 4), .distillation_weight = E("KD", 0)}, .augmentation = {E("FLIP", 1) > 0, (int64_t)E("CROP", 2)}, .seed = (uint64_t)E("SEED", 1)};
  torch::Tensor soft;
  if (getenv("SOFT")) torch::load(soft, std::string(getenv("SOFT")));
  Training t(m, data->train, soft, o);
  auto timing = run(t, [](double) {});
  m.eval();
  ActiveClock c;
  double a = top1([&](const torch::Tensor& x) { return m.forward(x); }, data->validation);
  std::println("cpu {:.0f} s; {} params {} macs {:.1f} s {:.0f} img/s val {:.4f} eval {:.0f} img/s", double(clock()) / CLOCKS_PER_SEC, cost.parameters, cost.macs, timing.seconds, timing.images_per_second, a, 5000 / c.seconds());
  if (getenv("WRITE_SOFT")) {
    auto plain = logits_of([&](const torch::Tensor& x) { return m.forward(x); }, data->train);
    auto flip = logits_of([&](const torch::Tensor& x) { return m.forward(x.flip(3)); }, data->train);
    torch::save(torch::stack({plain, flip}, 1), std::string(getenv("WRITE_SOFT")));
    std::println("soft {:.1f} s", c.seconds());
  }
}
