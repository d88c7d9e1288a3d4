#include "protocol/worker.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <fstream>
#include <optional>
#include <random>
#include <thread>

#include "protocol/artifact_references.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/artifact_transfer.hpp"
#include "protocol/farm.pb.h"
#include "protocol/tls_connection.hpp"

namespace finch::protocol {
namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kFirstRetry{200};
constexpr std::chrono::milliseconds kLastRetry{15000};

class Worker {
 public:
  Worker(const WorkerOptions& options, JobHandler& handler)
      : options_(options),
        handler_(handler),
        store_(options.state_folder / "artifacts"),
        outbox_(options.state_folder / "outbox"),
        retry_(io_) {
    std::filesystem::create_directories(outbox_);
    load_outbox();
  }

  std::expected<void, Error> run(std::stop_token stop) {
    const std::stop_callback end(stop, [this] { asio::post(io_, [this] { shut_down(); }); });
    asio::co_spawn(io_, connect_for_ever(), asio::detached);
    const auto keep_running = asio::make_work_guard(io_);
    while (!done()) io_.run_one();
    if (job_thread_.joinable()) job_thread_.join();
    return final_;
  }

 private:
  // A job in the works, from lease to result.
  struct Running : JobContext {
    Running(Worker& owner, Lease lease) : worker(owner), given(std::move(lease)) {}

    void progress(double fraction, const std::string& message) override {
      asio::post(worker.io_, [owner = &worker, fraction, message] {
        if (!owner->running_) return;
        ToController out;
        *out.mutable_progress()->mutable_lease() = owner->running_->given.lease();
        out.mutable_progress()->set_fraction(fraction);
        out.mutable_progress()->set_message(message);
        owner->send(out);
      });
    }
    std::stop_token stop_token() const override { return stop.get_token(); }
    const std::map<std::string, std::filesystem::path>& artifacts() const override { return paths; }
    const std::filesystem::path& output_folder() const override { return output; }

    Worker& worker;
    Lease given;
    std::stop_source stop;
    std::map<std::string, std::filesystem::path> paths;
    std::filesystem::path output;
    bool started = false;
  };

  bool done() const { return stopping_ && (!running_ || !running_->started); }

  void log(const std::string& line) const {
    if (options_.log) options_.log(line);
  }

  void send(const ToController& message) {
    if (connection_) connection_->send(message);
  }

  void shut_down() {
    stopping_ = true;
    if (running_) running_->stop.request_stop();
    if (connection_) connection_->close();
    retry_.cancel();
  }

  asio::awaitable<void> connect_for_ever() {
    std::mt19937 generator{std::random_device{}()};
    auto wait = kFirstRetry;
    std::string last_trouble;
    while (!stopping_) {
      const auto began = std::chrono::steady_clock::now();
      const std::string trouble = co_await one_connection();
      if (stopping_) break;
      if (welcomed_) {
        wait = kFirstRetry;
        last_trouble.clear();
      }
      welcomed_ = false;
      if (trouble != last_trouble) {
        log(std::format("{}:{}: {}; trying again", options_.host, options_.port, trouble));
        last_trouble = trouble;
      }
      std::uniform_real_distribution<> jitter(0.5, 1.5);
      retry_.expires_after(std::chrono::duration_cast<std::chrono::milliseconds>(wait * jitter(generator)));
      co_await retry_.async_wait(kAwait);
      if (std::chrono::steady_clock::now() - began < std::chrono::minutes(1)) wait = std::min(2 * wait, kLastRetry);
    }
  }

  // Why it ended.
  asio::awaitable<std::string> one_connection() {
    const auto context = client_context(options_.state_folder);
    if (!context) co_return context.error().message;
    asio::ip::tcp::resolver resolver(io_);
    const auto [unresolved, endpoints] =
        co_await resolver.async_resolve(options_.host, std::to_string(options_.port), kAwait);
    if (unresolved) co_return "cannot find this host: " + unresolved.message();
    asio::ip::tcp::socket socket(io_);
    asio::steady_timer deadline(io_, kHandshake);
    deadline.async_wait([&socket](boost::system::error_code error) {
      if (!error) socket.close();
    });
    const auto [refused, endpoint] = co_await asio::async_connect(socket, endpoints, kAwait);
    deadline.cancel();
    if (refused) co_return "no controller there: " + refused.message();
    auto connection = std::make_shared<Connection>(std::move(socket), *context);
    if (const auto shaken = co_await connection->handshake(false); !shaken) co_return shaken.error().message;
    connection_ = connection;
    send_hello();
    asio::co_spawn(io_, heartbeats(connection), asio::detached);
    std::string why = co_await connection->read_frames([this](std::string_view frame) { take(frame); });
    connection_.reset();
    offered_.clear();
    if (paused_) {
      // The controller that wanted quiet is gone.
      paused_ = false;
      handler_.resume();
    }
    if (!refusal_.empty()) why = std::exchange(refusal_, {});
    co_return why;
  }

  void send_hello() {
    ToController out;
    Hello& hello = *out.mutable_hello();
    hello = handler_.hello();
    hello.set_protocol_version(kProtocolVersion);
    hello.clear_held();
    if (running_) *hello.add_held() = running_->given.lease();
    for (const auto& [key, report] : reports_) *hello.add_held() = report.lease();
    send(out);
  }

  asio::awaitable<void> heartbeats(std::shared_ptr<Connection> connection) {
    asio::steady_timer timer(io_);
    while (connection == connection_ && !stopping_) {
      ToController out;
      out.mutable_heartbeat();
      connection->send(out);
      timer.expires_after(kHeartbeat);
      co_await timer.async_wait(kAwait);
    }
  }

  void take(std::string_view frame) {
    ToWorker message;
    if (!message.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) {
      refusal_ = "the controller sent something that is no message";
      connection_->close();
      return;
    }
    switch (message.body_case()) {
      case ToWorker::kWelcome:
        return welcome();
      case ToWorker::kRefused:
        return refused(message.refused());
      case ToWorker::kLease:
        return take_lease(message.lease());
      case ToWorker::kCancel:
        return cancel(message.cancel().lease());
      case ToWorker::kPause:
        return pause(message.pause().sequence());
      case ToWorker::kResume:
        return resume();
      case ToWorker::kResultAck:
        return acknowledged(message.result_ack());
      case ToWorker::kArtifactChunk:
        return take_bytes(message.artifact_chunk());
      case ToWorker::kArtifactMissing:
        return artifact_missing(message.artifact_missing().sha256());
      case ToWorker::kArtifactWanted:
        return give_bytes(message.artifact_wanted());
      case ToWorker::kArtifactHave:
        return delivered(message.artifact_have().sha256());
      default:
        return;
    }
  }

  void welcome() {
    welcomed_ = true;
    log(std::format("connected to {}:{}", options_.host, options_.port));
    if (running_ && !running_->started) fetch_next();
    deliver();
  }

  void refused(const Refused& refused) {
    refusal_ = refused.reason();
    if (refused.final()) {
      final_ = std::unexpected(Error{refused.reason()});
      shut_down();
    } else {
      connection_->close();
    }
  }

  // Jobs -------------------------------------------------------------------------------------------------------

  void take_lease(const Lease& lease) {
    if (running_) return;  // the controller believes us idle: its lease ends with this connection
    running_ = std::make_unique<Running>(*this, lease);
    for (const NamedArtifact& artifact : artifacts_named_by(lease.job())) wanted_.push_back(artifact.sha256);
    fetch_next();
  }

  void fetch_next() {
    while (!wanted_.empty() && store_.has(wanted_.back())) wanted_.pop_back();
    if (wanted_.empty()) return start();
    ToController out;
    out.mutable_artifact_wanted()->set_sha256(wanted_.back());
    out.mutable_artifact_wanted()->set_offset(store_.partial_bytes(wanted_.back()));
    send(out);
  }

  void take_bytes(const ArtifactChunk& chunk) {
    const auto taken = take_chunk(store_, chunk);
    if (!taken) return fail(taken.error().message);
    if (running_ && !running_->started) fetch_next();
  }

  void artifact_missing(const std::string& sha256) { fail("the controller no longer has artifact " + sha256); }

  void fail(const std::string& why) {
    if (!running_ || running_->started) return;
    JobResult result;
    result.mutable_failure()->set_message(why);
    result.mutable_failure()->set_retryable(true);
    finish(result);
  }

  void start() {
    running_->started = true;
    running_->output = options_.state_folder / "output";
    std::error_code ignored;
    std::filesystem::remove_all(running_->output, ignored);
    std::filesystem::create_directories(running_->output, ignored);
    for (const NamedArtifact& artifact : artifacts_named_by(running_->given.job())) {
      running_->paths[artifact.sha256] = store_.path_of(artifact.sha256);
    }
    if (job_thread_.joinable()) job_thread_.join();
    job_thread_ = std::jthread([this, running = running_.get()] {
      JobResult result = handler_.run(running->given.job(), *running);
      for (const NamedArtifact& artifact : artifacts_named_by(result)) {
        if (store_.has(artifact.sha256)) continue;
        const auto added = store_.add_file(running->output / artifact.sha256);
        if (added == artifact.sha256) continue;
        result.Clear();
        result.mutable_failure()->set_message(
            added ? "an output of the job does not have the hash it was announced with" : added.error().message);
        break;
      }
      asio::post(io_, [this, result = std::move(result)] { finish(result); });
    });
  }

  void finish(const JobResult& result) {
    const bool cancelled = running_->stop.stop_requested();
    ResultReport report;
    *report.mutable_lease() = running_->given.lease();
    *report.mutable_result() = result;
    running_.reset();
    wanted_.clear();
    if (cancelled) return;
    const std::string key = report.lease().job_key();
    std::ofstream(outbox_ / key, std::ios::binary) << report.SerializeAsString();
    reports_[key] = std::move(report);
    deliver();
  }

  void cancel(const LeaseRef& lease) {
    reports_.erase(lease.job_key());
    std::error_code ignored;
    std::filesystem::remove(outbox_ / lease.job_key(), ignored);
    if (!running_ || running_->given.lease().job_key() != lease.job_key()) return;
    running_->stop.request_stop();
    if (running_->started) return;  // its thread ends with finish()
    running_.reset();
    wanted_.clear();
  }

  void pause(std::uint64_t sequence) {
    paused_ = true;
    handler_.pause();
    ToController out;
    out.mutable_paused()->set_sequence(sequence);
    send(out);
  }

  void resume() {
    paused_ = false;
    handler_.resume();
  }

  // Results ----------------------------------------------------------------------------------------------------

  void load_outbox() {
    for (const auto& entry : std::filesystem::directory_iterator(outbox_)) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      ResultReport report;
      if (report.ParseFromString(bytes) && !report.lease().job_key().empty()) {
        reports_[report.lease().job_key()] = report;
      } else {
        std::filesystem::remove(entry.path());  // cut off by a crash: the job is done again
      }
    }
  }

  // Artifacts first, each offered once a connection; then the results whose artifacts have all arrived.
  void deliver() {
    if (!welcomed_) return;
    for (const auto& [key, report] : reports_) {
      bool complete = true;
      for (const NamedArtifact& artifact : artifacts_named_by(report.result())) {
        if (offered_[artifact.sha256] == Offer::delivered) continue;
        complete = false;
        if (offered_[artifact.sha256] == Offer::made) continue;
        offered_[artifact.sha256] = Offer::made;
        ToController out;
        out.mutable_artifact_offer()->mutable_artifact()->set_sha256(artifact.sha256);
        out.mutable_artifact_offer()->mutable_artifact()->set_size_bytes(artifact.size_bytes);
        send(out);
      }
      if (!complete) continue;
      ToController out;
      *out.mutable_result() = report;
      send(out);
    }
  }

  void give_bytes(const ArtifactWanted& wanted) {
    const auto chunk = read_chunk(store_, wanted);
    if (!chunk) return;
    ToController out;
    *out.mutable_artifact_chunk() = *chunk;
    send(out);
  }

  void delivered(const std::string& sha256) {
    offered_[sha256] = Offer::delivered;
    deliver();
  }

  void acknowledged(const ResultAck& ack) {
    reports_.erase(ack.lease().job_key());
    std::error_code ignored;
    std::filesystem::remove(outbox_ / ack.lease().job_key(), ignored);
  }

  enum class Offer { none, made, delivered };

  const WorkerOptions& options_;
  JobHandler& handler_;
  ArtifactStore store_;
  const std::filesystem::path outbox_;
  asio::io_context io_{1};
  asio::steady_timer retry_;
  std::shared_ptr<Connection> connection_;
  bool welcomed_ = false, paused_ = false, stopping_ = false;
  std::string refusal_;
  std::expected<void, Error> final_;
  std::unique_ptr<Running> running_;
  std::vector<std::string> wanted_;              // artifacts still to be fetched for `running_`
  std::map<std::string, ResultReport> reports_;  // not yet acknowledged, by job key
  std::map<std::string, Offer> offered_;         // on this connection
  std::jthread job_thread_;
};

}  // namespace

std::expected<void, Error> run_worker(const WorkerOptions& options, JobHandler& handler, std::stop_token stop) {
  try {
    return Worker(options, handler).run(stop);
  } catch (const std::filesystem::filesystem_error& error) {
    return std::unexpected(Error{std::format("{}: cannot be used as the worker's folder: {}",
                                             options.state_folder.string(), error.code().message())});
  }
}

}  // namespace finch::protocol
