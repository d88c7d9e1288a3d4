// The outcome of a compression as files and text. Pure functions but for write_compression_report(); thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controller/compression/compression_state.hpp"
#include "controller/error.hpp"

namespace finch::controller {

// Of a step's file, below models/ of the run folder: "2-quantize-int8.onnx".
std::string step_file_name(const CompressionState& state, std::size_t index);

// {"format": 1, "model", "device", "max_accuracy_drop", "status", "steps": [{"step", "base", "kept", "reason", "file":
// {"path", "precision", "sha256", "size_bytes", "compressed_bytes"}, "parameters", "macs", "accuracy": {"validation",
// "samples", "ci_low", "ci_high", "test", "test_samples", "test_ci_low", "test_ci_high"}, "measurement": MEASUREMENT,
// "latency_ratio": {"median", "ci_low", "ci_high"} or null, "notes"}]}; "result": the number of the last step that was
// kept. The intervals of accuracies: 95 %, Wilson's.
std::string compression_json(const CompressionState& state);
std::string compression_text(const CompressionState& state);  // a table
std::string compression_html(const CompressionState& state);  // one page that needs nothing else

// compression.json and report.html in the run folder. Error: not writable.
std::expected<void, Error> write_compression_report(const CompressionState& state, const std::filesystem::path& folder);

}  // namespace finch::controller
