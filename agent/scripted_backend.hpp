// Fakes of clock and inference backend for tests: a session takes as long as its script says, on a clock that only it
// moves. Not thread safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/inference_backend.hpp"

namespace finch::agent {

class ManualClock {
 public:
  std::chrono::nanoseconds now() const { return now_; }
  void advance(std::chrono::nanoseconds by) { now_ += by; }

 private:
  std::chrono::nanoseconds now_{0};
};

class ScriptedSession : public InferenceSession {
 public:
  // `latency` gives the duration of the n-th run, n from 0.
  ScriptedSession(ManualClock& clock, std::function<std::chrono::nanoseconds(std::size_t)> latency)
      : clock_(clock), latency_(std::move(latency)) {}

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  std::expected<void, Error> bind(std::size_t, const std::vector<std::int64_t>&, std::span<std::byte>) override {
    return {};
  }
  std::expected<void, Error> run() override {
    if (runs_ == fail_at_) return std::unexpected(Error{"scripted failure"});
    clock_.advance(latency_(runs_++));
    return {};
  }
  std::expected<FloatTensor, Error> output(std::size_t) const override { return FloatTensor{{1, 2}, {0.25F, 0.75F}}; }

  std::size_t runs() const { return runs_; }
  void fail_at(std::size_t run) { fail_at_ = run; }

 private:
  ManualClock& clock_;
  std::function<std::chrono::nanoseconds(std::size_t)> latency_;
  std::size_t runs_ = 0;
  std::size_t fail_at_ = static_cast<std::size_t>(-1);
  std::vector<TensorInfo> inputs_{{"image", ElementType::kFloat32, {-1, 1, 4, 4}}};
  std::vector<TensorInfo> outputs_{{"logits", ElementType::kFloat32, {-1, 2}}};
};

class ScriptedBackend : public InferenceBackend {
 public:
  ScriptedBackend(ManualClock& clock, std::function<std::chrono::nanoseconds(std::size_t)> latency)
      : clock_(clock), latency_(std::move(latency)) {}

  std::string version() const override { return "scripted"; }
  std::vector<std::string> providers() const override { return {"cpu"}; }
  std::expected<std::unique_ptr<InferenceSession>, Error> load(const std::filesystem::path&,
                                                               const SessionSettings&) override {
    return std::make_unique<ScriptedSession>(clock_, latency_);
  }
  std::expected<std::unique_ptr<InferenceSession>, Error> load(std::span<const std::byte>,
                                                               const SessionSettings&) override {
    return std::make_unique<ScriptedSession>(clock_, latency_);
  }

 private:
  ManualClock& clock_;
  std::function<std::chrono::nanoseconds(std::size_t)> latency_;
};

}  // namespace finch::agent
