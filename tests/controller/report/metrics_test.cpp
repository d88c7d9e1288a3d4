#include "controller/report/metrics.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "controller/report/watch_metrics.hpp"

namespace finch::controller {
namespace {

using ::testing::HasSubstr;

// A port that was free a moment ago, still bound while the object lives.
class BoundPort {
 public:
  BoundPort() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_, 1), 0);
    socklen_t length = sizeof address;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
  }
  ~BoundPort() { release(); }
  void release() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  int socket_;
  int port_ = 0;
};

std::string get_metrics(int port) {
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  EXPECT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(::write(client, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t count; (count = ::read(client, buffer, sizeof buffer)) > 0;)
    answer.append(buffer, static_cast<std::size_t>(count));
  ::close(client);
  return answer.substr(answer.find("\r\n\r\n") + 4);
}

// Of promtool; empty: none, or it is not installed (package prometheus).
std::string complaints_about(const std::string& text) {
  if (std::system("command -v promtool >/dev/null") != 0) return {};
  const auto file = std::filesystem::temp_directory_path() / ("finch-metrics-" + std::to_string(::getpid()));
  // Prometheus-cpp's own exposer_* series carry names that promtool warns of; ours must be clean.
  std::ofstream out(file);
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    if (line.find("exposer_") == std::string::npos) out << line << '\n';
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  out.close();
  std::FILE* check = ::popen(("promtool check metrics < " + file.string() + " 2>&1").c_str(), "r");
  std::string complaints;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, check) != nullptr) complaints += buffer;
  ::pclose(check);
  std::filesystem::remove(file);
  return complaints;
}

CampaignStatus status() {
  CampaignStatus value;
  value.elapsed = std::chrono::seconds(61);
  value.remaining = std::chrono::seconds(30);
  value.asked = 5;
  value.evaluated = 3;
  value.dropped = 1;
  value.front = {{.id = 1, .top1 = 0.81, .latency_ms = 0.25}, {.id = 3, .top1 = 0.9, .latency_ms = 1.5}};
  value.workers = {{"local", "agent", "idle", 0}};
  return value;
}

TEST(Metrics, AreServedInBaseUnitsAndPassPromtool) {
  BoundPort port;
  port.release();
  auto server = MetricsServer::start(port.address());
  ASSERT_TRUE(server) << server.error().message;
  (*server)->update(status());
  (*server)->update(status());  // counters are totals: the same status again changes nothing
  const std::string text = get_metrics(port.port());
  EXPECT_THAT(text, HasSubstr("finch_campaign_elapsed_seconds_total 61"));
  EXPECT_THAT(text, HasSubstr("finch_candidates_total{outcome=\"evaluated\"} 3"));
  EXPECT_THAT(text, HasSubstr("finch_front_fastest_latency_seconds 0.00025"));
  EXPECT_THAT(text, HasSubstr("finch_workers{role=\"agent\"} 1"));

  EXPECT_EQ(complaints_about(text), "");
}

TEST(WatchMetrics, SayWhatIsWatchedAndHowItIs) {
  BoundPort port;
  port.release();
  const auto server = WatchMetrics::start(port.address());
  ASSERT_TRUE(server) << server.error().message;
  (*server)->count_check();
  (*server)->count_alarm("device");
  (*server)->show_states({{"ok", 2}, {"device", 1}});
  const std::string text = get_metrics(port.port());
  EXPECT_THAT(text, HasSubstr("finch_watch_models{state=\"ok\"} 2"));
  EXPECT_THAT(text, HasSubstr("finch_watch_models{state=\"epoch\"} 0"));
  EXPECT_THAT(text, HasSubstr("finch_watch_alarms_total{kind=\"device\"} 1"));
  EXPECT_THAT(text, HasSubstr("finch_watch_checks_total 1"));
  EXPECT_EQ(complaints_about(text), "");
}

TEST(Metrics, AnOccupiedPortIsNamed) {
  BoundPort port;
  const auto server = MetricsServer::start(port.address());
  ASSERT_FALSE(server);
  EXPECT_THAT(server.error().message, HasSubstr(port.address()));
  EXPECT_THAT(server.error().message, HasSubstr("--metrics"));
}

}  // namespace
}  // namespace finch::controller
