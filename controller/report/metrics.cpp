#include "controller/report/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <format>
#include <mutex>

namespace finch::controller {
namespace {

using prometheus::Counter;
using prometheus::Gauge;

class PrometheusServer : public MetricsServer {
 public:
  explicit PrometheusServer(const std::string& address)
      : exposer_(address, 1), registry_(std::make_shared<prometheus::Registry>()) {
    elapsed_ = &counter("finch_campaign_elapsed_seconds_total", "Time the campaign has run, over all resumes.");
    waiting_ = &counter("finch_training_waiting_seconds_total", "Time training stood still while its host measured.");
    reused_ = &counter("finch_results_reused_total", "Results taken from earlier campaigns.");
    auto& candidates = prometheus::BuildCounter()
                           .Name("finch_candidates_total")
                           .Help("Candidates by outcome: evaluated, dropped before training, failed.")
                           .Register(*registry_);
    evaluated_ = &candidates.Add({{"outcome", "evaluated"}});
    dropped_ = &candidates.Add({{"outcome", "dropped"}});
    failed_ = &candidates.Add({{"outcome", "failed"}});
    asked_ = &counter("finch_candidates_asked_total", "Candidates proposed by the search.");
    progress_ = &gauge("finch_campaign_progress_ratio", "Progress of the campaign, 0 to 1, an estimate.");
    remaining_ = &gauge("finch_campaign_remaining_seconds", "Time until the campaign ends, an estimate.");
    front_size_ = &gauge("finch_front_models", "Candidates on the current Pareto front.");
    best_accuracy_ = &gauge("finch_front_best_accuracy_ratio", "Best validation accuracy on the front, 0 to 1.");
    fastest_ = &gauge("finch_front_fastest_latency_seconds", "Least median latency on the front.");
    workers_ = &prometheus::BuildGauge().Name("finch_workers").Help("Connected workers by role.").Register(*registry_);
    exposer_.RegisterCollectable(registry_);
  }

  void update(const CampaignStatus& status) override {
    const std::scoped_lock lock(mutex_);
    raise(*elapsed_, status.elapsed.count());
    raise(*waiting_, status.waiting_seconds);
    raise(*reused_, static_cast<double>(status.reused));
    raise(*asked_, static_cast<double>(status.asked));
    raise(*evaluated_, static_cast<double>(status.evaluated));
    raise(*dropped_, static_cast<double>(status.dropped));
    raise(*failed_, static_cast<double>(status.failed));
    progress_->Set(status.overall_progress);
    if (status.remaining) remaining_->Set(status.remaining->count());
    front_size_->Set(static_cast<double>(status.front.size()));
    if (!status.front.empty()) {
      best_accuracy_->Set(std::ranges::max(status.front, {}, &StatusPoint::top1).top1);
      fastest_->Set(std::ranges::min(status.front, {}, &StatusPoint::latency_ms).latency_ms / 1e3);
    }
    for (const char* role : {"agent", "trainer"}) {
      const auto connected = std::ranges::count(status.workers, role, &WorkerStatus::role);
      workers_->Add({{"role", role}}).Set(static_cast<double>(connected));
    }
  }

 private:
  Counter& counter(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add({});
  }
  Gauge& gauge(const std::string& name, const std::string& help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add({});
  }
  static void raise(Counter& counter, double value) { counter.Increment(std::max(0.0, value - counter.Value())); }

  prometheus::Exposer exposer_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::mutex mutex_;
  Counter *elapsed_, *waiting_, *reused_, *asked_, *evaluated_, *dropped_, *failed_;
  Gauge *progress_, *remaining_, *front_size_, *best_accuracy_, *fastest_;
  prometheus::Family<Gauge>* workers_;
};

}  // namespace

std::expected<std::unique_ptr<MetricsServer>, Error> MetricsServer::start(const std::string& address) {
  try {
    return std::make_unique<PrometheusServer>(address);
  } catch (const std::exception&) {
    return std::unexpected(
        Error{std::format("cannot serve metrics on {}: the port is occupied or the address is not one of this machine; "
                          "choose another with --metrics ADDRESS:PORT",
                          address)});
  }
}

}  // namespace finch::controller
