#include "controller/report/live_view.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <format>
#include <ftxui/dom/elements.hpp>
#include <ftxui/screen/screen.hpp>

#include "controller/report/log_view.hpp"

namespace finch::controller {
namespace {

using namespace ftxui;

constexpr std::size_t kFrontRows = 8;

Element bar(double fraction) {
  return gauge(static_cast<float>(std::clamp(fraction, 0.0, 1.0)));
}

Element header(const CampaignStatus& status) {
  std::string time = clock_text(status.elapsed);
  if (status.remaining) time += ", about " + clock_text(*status.remaining) + " left";
  return hbox({text(" finch ") | inverted, text(" " + status.campaign) | bold, filler(), text(time)});
}

Element progress(const CampaignStatus& status) {
  const auto row = [](const std::string& label, double fraction) {
    return hbox({text(label) | size(WIDTH, EQUAL, 10), bar(fraction) | color(Color::Blue) | flex,
                 text(std::format(" {:3.0f} %", 100 * fraction))});
  };
  std::string counts = std::format("{} evaluated", status.evaluated);
  if (status.evaluation_budget) counts += std::format(" of {}", *status.evaluation_budget);
  counts += std::format(" · {} dropped before training", status.dropped);
  if (status.failed > 0) counts += std::format(" · {} failed", status.failed);
  if (status.reused > 0) counts += std::format(" · {} results reused", status.reused);
  if (status.waiting_seconds >= 1) counts += std::format(" · training waited {:.0f} s", status.waiting_seconds);
  return vbox({row(status.stage, status.stage_progress), row("campaign", status.overall_progress),
               text(status.stage_detail) | dim, text(counts) | dim});
}

// Every k-th row where the front is longer than the screen has room for; both ends always stay.
std::vector<StatusPoint> shown_rows(const std::vector<StatusPoint>& front) {
  if (front.size() <= kFrontRows) return front;
  std::vector<StatusPoint> rows;
  for (std::size_t i = 0; i < kFrontRows; ++i) rows.push_back(front[i * (front.size() - 1) / (kFrontRows - 1)]);
  return rows;
}

Element front_table(const CampaignStatus& status) {
  const auto cell = [](std::string value, int width) {
    return text(std::move(value)) | align_right | size(WIDTH, EQUAL, width);
  };
  Elements rows{hbox({cell("candidate", 10), cell("accuracy", 10), cell("latency", 12), cell("parameters", 12),
                      cell("MACs", 10), text("  ")}) |
                dim};
  double slowest = 0;
  for (const StatusPoint& point : status.front) slowest = std::max(slowest, point.latency_ms);
  for (const StatusPoint& point : shown_rows(status.front)) {
    rows.push_back(hbox({cell(std::to_string(point.id), 10), cell(std::format("{:.2f} %", 100 * point.top1), 10),
                         cell(std::format("{:.3f} ms", point.latency_ms), 12),
                         cell(std::format("{:.1f} k", static_cast<double>(point.parameters) / 1e3), 12),
                         cell(std::format("{:.2f} M", static_cast<double>(point.macs) / 1e6), 10), text("  "),
                         bar(slowest > 0 ? point.latency_ms / slowest : 0) | color(Color::GreenLight) | flex}));
  }
  if (status.front.empty()) rows.push_back(text("no candidate evaluated yet") | dim);
  const std::string title = std::format(" front ({}), validation accuracy ", status.front.size());
  return window(text(title), vbox(std::move(rows)));
}

Element worker_table(const CampaignStatus& status) {
  Elements rows;
  for (const WorkerStatus& worker : status.workers) {
    rows.push_back(
        hbox({text(worker.name) | bold | size(WIDTH, EQUAL, 18), text(worker.role) | dim | size(WIDTH, EQUAL, 9),
              text(worker.activity) | flex, bar(worker.progress) | size(WIDTH, EQUAL, 12)}));
  }
  if (rows.empty()) rows.push_back(text("none has a job at the moment") | dim);
  return window(text(" workers "), vbox(std::move(rows)));
}

int terminal_columns() {
  winsize window{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) return window.ws_col;
  return 80;
}

}  // namespace

std::string live_picture(const CampaignStatus& status, int width) {
  Elements parts = {header(status), progress(status), front_table(status)};
  if (status.stage != "report") {  // where all is done
    parts.push_back(worker_table(status));
    parts.push_back(text("Ctrl-C stops; go on later with: finch resume " + status.run_folder) | dim);
  }
  Element picture = vbox(std::move(parts));
  Screen screen = Screen::Create(Dimension::Fixed(std::max(width, 40)), Dimension::Fit(picture));
  Render(screen, picture);
  return screen.ToString();
}

void LiveView::erase() {
  if (lines_ == 0) return;
  if (lines_ > 1) std::fprintf(stderr, "\x1b[%dA", lines_ - 1);
  std::fputs("\r\x1b[J", stderr);
  lines_ = 0;
}

void LiveView::show(const CampaignStatus& status) {
  erase();
  for (const std::string& line : status.log)
    std::fprintf(stderr, "[%s] %s\n", clock_text(status.elapsed).c_str(), line.c_str());
  const std::string picture = live_picture(status, std::min(terminal_columns(), 110));
  std::fputs(picture.c_str(), stderr);
  std::fflush(stderr);
  lines_ = 1 + static_cast<int>(std::ranges::count(picture, '\n'));
}

void LiveView::finish() {
  if (lines_ == 0) return;
  std::fputc('\n', stderr);
  std::fflush(stderr);
  lines_ = 0;
}

}  // namespace finch::controller
