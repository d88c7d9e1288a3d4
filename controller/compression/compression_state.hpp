// What a compression knows, as its events tell it. A plain value; not thread safe.
#pragma once

#include <expected>
#include <optional>
#include <string>

#include "controller/campaign/event_store.hpp"
#include "controller/campaign/step_judgement.hpp"
#include "controller/compression/compression_config.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

struct CompressionState {
  CompressionConfig config;
  std::string started, finished;  // UTC
  std::optional<protocol::DeviceDescription> device;
  std::optional<protocol::DataFacts> data;
  std::optional<protocol::TrainedTeacher> teacher;
  PipelineState pipeline;

  // Errors: an event that does not fit (a damaged log, a newer Finch).
  std::expected<void, Error> apply(const Event& event);
};

}  // namespace finch::controller
