// Files for people and machines made from a CampaignResult. Free functions; thread safe. All writes are atomic
// (temporary file, then rename).
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controller/campaign/front.hpp"
#include "controller/error.hpp"

namespace finch::controller {

std::string front_json(const CampaignResult& result);  // the format of the documentation, "format": 1
std::string front_csv(const CampaignResult& result);   // one line a file of the front
// Every candidate: first the genotype, a digit (0-9, then a-z) a decision, then accuracy (validation top-1, %), latency
// (ms, of the slowest device), what is known on paper, and the latency on each device; empty where unknown.
std::string evaluations_csv(const CampaignResult& result);
std::string report_html(const CampaignResult& result);  // self-contained: opens without a network

// front.json, front.csv and report.html in the run folder. Error: not writable, disk full.
std::expected<void, Error> write_report(const CampaignResult& result, const std::filesystem::path& run_folder);

std::expected<void, Error> write_atomically(const std::filesystem::path& path, const std::string& text);

// One measurement as JSON text, as printed wherever one is.
std::string measurement_json(const MeasurementInfo& measurement);

}  // namespace finch::controller
