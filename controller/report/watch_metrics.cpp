#include "controller/report/watch_metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <format>

namespace finch::controller {
namespace {

constexpr const char* kStates[] = {"ok", "model", "device", "epoch", "failed"};

class PrometheusWatch : public WatchMetrics {
 public:
  explicit PrometheusWatch(const std::string& address)
      : exposer_(address, 1),
        registry_(std::make_shared<prometheus::Registry>()),
        models_(prometheus::BuildGauge()
                    .Name("finch_watch_models")
                    .Help("Models that are watched, by what the last check found.")
                    .Register(*registry_)),
        alarms_(prometheus::BuildCounter()
                    .Name("finch_watch_alarms_total")
                    .Help("Alarms raised, by what has drifted.")
                    .Register(*registry_)),
        checks_(prometheus::BuildCounter()
                    .Name("finch_watch_checks_total")
                    .Help("Models measured again.")
                    .Register(*registry_)
                    .Add({})) {
    for (const char* state : kStates) {
      models_.Add({{"state", state}});
      if (std::string(state) != "ok") alarms_.Add({{"kind", state}});
    }
    exposer_.RegisterCollectable(registry_);
  }

  void show_states(const std::map<std::string, std::int64_t>& models) override {
    for (const char* state : kStates) {
      const auto count = models.find(state);
      models_.Add({{"state", state}}).Set(count == models.end() ? 0 : static_cast<double>(count->second));
    }
  }
  void count_check() override { checks_.Increment(); }
  void count_alarm(const std::string& kind) override { alarms_.Add({{"kind", kind}}).Increment(); }

 private:
  prometheus::Exposer exposer_;
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Gauge>& models_;
  prometheus::Family<prometheus::Counter>& alarms_;
  prometheus::Counter& checks_;
};

}  // namespace

std::expected<std::unique_ptr<WatchMetrics>, Error> WatchMetrics::start(const std::string& address) {
  try {
    return std::make_unique<PrometheusWatch>(address);
  } catch (const std::exception&) {
    return std::unexpected(Error{std::format(
        "cannot serve metrics on {}: the port is occupied or the address is not one of this machine; choose another "
        "with --metrics ADDRESS:PORT",
        address)});
  }
}

}  // namespace finch::controller
