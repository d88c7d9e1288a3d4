#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <format>
#include <set>

#include "controller/report/report.hpp"
#include "search/search_space.hpp"

namespace finch::controller {
namespace {

// RFC 4180: quoted when needed, quotes doubled.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char character : text) {
    if (character == '"') quoted += '"';
    quoted += character;
  }
  return quoted + '"';
}

}  // namespace

std::expected<void, Error> write_atomically(const std::filesystem::path& path, const std::string& text) {
  const auto fail = [&](const char* what) {
    const int error = errno;
    return std::unexpected(Error{std::format("{}: cannot {}: {}{}", path.string(), what, std::strerror(error),
                                             error == ENOSPC ? "; free some space and run: finch report" : "")});
  };
  std::filesystem::path temporary = path;
  temporary += std::format(".{}.tmp", ::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return fail("write");
  std::size_t written = 0;
  bool good = true;
  while (good && written < text.size()) {
    const ssize_t count = ::write(file, text.data() + written, text.size() - written);
    good = count > 0;
    if (good) written += static_cast<std::size_t>(count);
  }
  good = good && ::fsync(file) == 0;
  if (!good) {
    const auto error = fail("write");
    ::close(file);
    ::unlink(temporary.c_str());
    return error;
  }
  ::close(file);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail("rename into place");
  return {};
}

std::string evaluations_csv(const CampaignResult& result) {
  std::set<std::string> devices;
  for (const CandidatePoint& candidate : result.candidates) {
    for (const auto& [device, latency] : candidate.latency_by_device_ms) devices.insert(device);
  }
  std::string text = "genotype,accuracy,latency,parameters,macs,memory";
  for (const std::string& device : devices) text += "," + csv_field("latency@" + device);
  text += ",candidate,outcome\n";
  for (const CandidatePoint& candidate : result.candidates) {
    text += search::to_digits(candidate.genotype);
    const auto number = [](const std::optional<double>& value) { return value ? std::format("{}", *value) : ""; };
    // Only what is comparable: no accuracy of a training that was cut short, no estimate.
    std::optional<double> top1;
    if (candidate.validation_top1 && candidate.outcome != "stopped") top1 = 100 * *candidate.validation_top1;
    const auto latency = candidate.estimated ? std::nullopt : candidate.latency_ms;
    text += std::format(",{},{},{},{},{}", number(top1), number(latency), candidate.parameters, candidate.macs,
                        candidate.peak_activation_bytes);
    for (const std::string& device : devices) {
      const auto there = candidate.latency_by_device_ms.find(device);
      const bool none = candidate.estimated || there == candidate.latency_by_device_ms.end();
      text += "," + (none ? "" : std::format("{}", there->second));
    }
    text += std::format(",{},{}\n", candidate.id, csv_field(candidate.outcome));
  }
  return text;
}

std::string front_csv(const CampaignResult& result) {
  std::string text =
      "id,precision,top1,samples,split,device,tier,verdict,threads,batch,median_ms,ci_low_ms,ci_high_ms,p90_ms,p99_ms,"
      "load_peak_bytes,run_peak_bytes,size_bytes,parameters,macs,space,genotype,path,sha256,top1_ci_low,top1_ci_high,"
      "runtime\n";
  for (const FrontModel& model : result.models) {
    std::string genotype;
    for (const int choice : model.genotype) genotype += (genotype.empty() ? "" : " ") + std::to_string(choice);
    for (const ModelFile& file : model.files) {
      const std::string accuracy =
          file.accuracy ? std::format("{},{},{}", file.accuracy->top1, file.accuracy->samples, file.accuracy->split)
                        : ",,";
      const std::string interval =
          file.accuracy ? std::format("{},{}", file.accuracy->ci_low, file.accuracy->ci_high) : ",";
      const std::string tail =
          std::format("{},{},{},{},{},{},{},{}", file.size_bytes, model.parameters, model.macs, csv_field(model.space),
                      genotype, csv_field(file.path), file.sha256, interval);
      const std::string head = std::format("{},{},{}", csv_field(model.id), file.precision, accuracy);
      if (file.measurements.empty()) text += head + ",,,,,,,,,,,,," + tail + ",\n";
      for (const MeasurementInfo& m : file.measurements) {
        text += std::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", head, csv_field(m.device), m.tier,
                            m.verdict, m.deploy.threads, m.deploy.batch, m.median_ms, m.ci_low_ms, m.ci_high_ms,
                            m.p90_ms, m.p99_ms, m.load_peak_bytes, m.run_peak_bytes, tail, m.deploy.runtime);
      }
    }
  }
  return text;
}

std::expected<void, Error> write_report(const CampaignResult& result, const std::filesystem::path& run_folder) {
  return write_atomically(run_folder / "front.json", front_json(result))
      .and_then([&] { return write_atomically(run_folder / "front.csv", front_csv(result)); })
      .and_then([&] { return write_atomically(run_folder / "report.html", report_html(result)); });
}

}  // namespace finch::controller
