#include "protocol/worker.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <set>

#include "protocol/artifact_offers.hpp"
#include "protocol/artifact_references.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/artifact_transfer.hpp"
#include "protocol/backoff.hpp"
#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/outbox.hpp"
#include "protocol/running_job.hpp"
#include "protocol/tls_connection.hpp"

namespace finch::protocol {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kFirstRetry{200};
constexpr std::chrono::milliseconds kLastRetry{15000};
constexpr std::chrono::milliseconds kProgressInterval{200};
constexpr std::chrono::seconds kAnswer{60};  // a connection that leaves a question open for so long is given up
constexpr std::chrono::seconds kFolderPatience{5};
constexpr int kTransferAttempts = 3;  // of an artifact whose bytes do not hash to its name

// Everything but `jobs_` and what runs there belongs to the thread of `io_`, which is the one that calls run().
class Worker {
 public:
  Worker(const WorkerOptions& options, JobHandler& handler)
      : options_(options),
        handler_(handler),
        store_(options.state_folder / "artifacts"),
        outbox_(options.state_folder / "outbox"),
        retry_(io_),
        progress_timer_(io_),
        alive_timer_(io_) {}

  std::expected<void, Error> run(std::stop_token stop) {
    const std::stop_callback end(stop, [this] { asio::post(io_, [this] { shut_down(); }); });
    asio::co_spawn(io_, connect_for_ever(), [this](std::exception_ptr failure) {
      if (!failure) return;
      shut_down();
      std::rethrow_exception(failure);
    });
    if (options_.alive && options_.alive_interval > options_.alive_interval.zero()) {
      asio::co_spawn(io_, stay_alive(), asio::detached);
    }
    const auto keep_running = asio::make_work_guard(io_);
    while (!stopping_ || (current_ && current_->begun())) io_.run_one();
    jobs_.join();
    return final_;
  }

 private:
  // The connection ------------------------------------------------------------------------------------------------

  asio::awaitable<void> connect_for_ever() {
    Backoff backoff(kFirstRetry, kLastRetry);
    std::string last_trouble;
    while (!stopping_) {
      const std::string trouble = co_await one_connection();
      if (stopping_) break;
      if (std::exchange(welcomed_, false)) {
        backoff.reset();
        last_trouble.clear();
      }
      if (trouble != last_trouble) log(trouble + "; trying again");
      last_trouble = trouble;
      retry_.expires_after(backoff.next());
      co_await retry_.async_wait(kAwait);
    }
  }

  asio::awaitable<void> stay_alive() {
    while (!stopping_) {
      options_.alive();
      alive_timer_.expires_after(options_.alive_interval);
      co_await alive_timer_.async_wait(kAwait);
    }
  }

  // Why it ended.
  asio::awaitable<std::string> one_connection() {
    const auto context = client_context(options_.state_folder);
    if (!context) co_return std::format("{}:{}: {}", options_.host, options_.port, context.error().message);
    const auto connection = co_await Connection::connect(options_.host, options_.port, *context);
    if (!connection) co_return connection.error().message;
    if (stopping_) co_return "stopped";
    connection_ = *connection;
    trouble_.clear();
    send_hello();
    asio::co_spawn(io_, tend(connection_), asio::detached);
    const std::string why = co_await connection_->read_frames([this](std::string_view frame) { take(frame); });
    connection_.reset();
    asked_ = false;
    offers_.clear();
    sent_.clear();
    // A pause outlives the connection: whoever measures here may still do so. The next controller says how it is.
    co_return trouble_.empty() ? why : trouble_;
  }

  // Heartbeats, and the deadline of every question.
  asio::awaitable<void> tend(std::shared_ptr<Connection> connection) {
    asio::steady_timer timer(io_);
    while (connection == connection_ && !stopping_) {
      ToController out;
      out.mutable_heartbeat();
      connection->send(out);
      const bool waiting = !welcomed_ || asked_ || !sent_.empty() || offers_.open();
      if (waiting && !paused_ && Clock::now() - last_answer_ > kAnswer) {
        give_up(std::format("the controller left a question open for {} seconds", kAnswer.count()));
      }
      timer.expires_after(heartbeat_);
      co_await timer.async_wait(kAwait);
    }
  }

  void log(const std::string& line) const {
    if (options_.log) options_.log(std::format("{}:{}: {}", options_.host, options_.port, line));
  }

  void send(const ToController& message) {
    if (connection_) connection_->send(message);
  }

  // Sends what the controller is to answer.
  void ask(const ToController& message) {
    last_answer_ = Clock::now();
    send(message);
  }

  void give_up(const std::string& why) {
    trouble_ = why;
    if (connection_) connection_->close();
  }

  void shut_down() {
    stopping_ = true;
    if (current_) current_->request_stop();
    if (connection_) connection_->close();
    retry_.cancel();
    alive_timer_.cancel();
  }

  void send_hello() {
    ToController out;
    Hello& hello = *out.mutable_hello();
    hello = handler_.hello();
    hello.set_protocol_version(kProtocolVersion);
    hello.clear_held();
    if (current_) *hello.add_held() = current_->lease();  // also what still winds down
    for (const Lease& lease : queue_) *hello.add_held() = lease.lease();
    for (const auto& [key, report] : outbox_.reports()) *hello.add_held() = report.lease();
    ask(out);
  }

  void take(std::string_view frame) {
    ToWorker message;
    if (const auto decoded = decode_frame_body(frame, message); !decoded) return give_up(decoded.error().message);
    if (!message.has_heartbeat()) last_answer_ = Clock::now();
    switch (message.body_case()) {
      case ToWorker::kWelcome:
        return take_welcome(message.welcome());
      case ToWorker::kRefused:
        return take_refusal(message.refused());
      case ToWorker::kLease:
        return take_lease(message.lease());
      case ToWorker::kCancel:
        return cancel(message.cancel().lease());
      case ToWorker::kPause:
        return pause(message.pause().sequence());
      case ToWorker::kResume:
        return resume();
      case ToWorker::kResultAck:
        return take_acknowledgement(message.result_ack().lease());
      case ToWorker::kArtifactChunk:
        return take_bytes(message.artifact_chunk());
      case ToWorker::kArtifactMissing:
        return artifact_missing(message.artifact_missing().sha256());
      case ToWorker::kArtifactWanted:
        return give_bytes(message.artifact_wanted());
      case ToWorker::kArtifactHave:
        offers_.set_delivered(message.artifact_have().sha256());
        return deliver();
      default:
        return;
    }
  }

  void take_welcome(const Welcome& welcome) {
    welcomed_ = true;
    if (welcome.heartbeat_seconds() > 0) heartbeat_ = std::chrono::seconds(welcome.heartbeat_seconds());
    const std::string& theirs = welcome.software_version();
    log(theirs.empty() ? "connected" : std::format("connected; the controller is Finch {}", theirs));
    resume();  // where this host still measures, the next message says so
    proceed();
    send_progress();
  }

  void take_refusal(const Refused& refused) {
    if (refused.final()) {
      final_ = std::unexpected(
          Error{std::format("{}:{} refuses this worker: {}", options_.host, options_.port, refused.reason())});
      return shut_down();
    }
    give_up("refused: " + refused.reason());
  }

  // Jobs ----------------------------------------------------------------------------------------------------------

  static bool covers(const LeaseRef& lease, const LeaseRef& held) {
    return lease.job_key() == held.job_key() && lease.token() >= held.token();
  }

  void take_lease(const Lease& lease) {
    // The same job again, under a later token: what is done of it counts.
    if (current_ && !current_->stopped() && covers(lease.lease(), current_->lease())) {
      current_->lease() = lease.lease();
      return;
    }
    if (outbox_.renew(lease.lease())) {
      save(lease.lease().job_key());
      sent_.erase(lease.lease().job_key());
      return deliver();
    }
    std::erase_if(queue_, [&](const Lease& held) { return covers(lease.lease(), held.lease()); });
    queue_.push_back(lease);
    proceed();
  }

  // Whatever can go on now, does.
  void proceed() {
    if (paused_ || stopping_) return;
    if (!current_ && !queue_.empty()) {
      current_ = std::make_unique<RunningJob>(std::move(queue_.front()), options_.state_folder / "output", [this] {
        if (!progress_waits_.exchange(true)) asio::post(io_, [this] { send_progress(); });
      });
      queue_.pop_front();
      transfer_failures_ = 0;
    }
    if (current_ && !current_->begun() && !storing_) {
      if (const auto missing = current_->next_missing(store_)) {
        want(*missing);
      } else {
        begin();
      }
    }
    deliver();
    for (const ArtifactWanted& wanted : std::exchange(deferred_, {})) give_bytes(wanted);
  }

  void want(const std::string& sha256) {
    if (asked_ || !welcomed_ || !connection_) return;
    asked_ = true;
    ToController out;
    out.mutable_artifact_wanted()->set_sha256(sha256);
    out.mutable_artifact_wanted()->set_offset(store_.partial_bytes(sha256));
    ask(out);
  }

  void take_bytes(const ArtifactChunk& chunk) {
    if (!asked_) return;
    asked_ = false;
    storing_ = true;
    // Hashing and syncing a large file may take longer than the controller waits for a sign of life.
    asio::post(jobs_, [this, chunk] {
      auto taken = take_chunk(store_, chunk);
      asio::post(io_, [this, taken = std::move(taken)] {
        storing_ = false;
        if (!taken && ++transfer_failures_ >= kTransferAttempts) return fail(taken.error().message);
        proceed();
      });
    });
  }

  void artifact_missing(const std::string& sha256) {
    asked_ = false;
    fail(std::format("the controller no longer has the artifact {} that the job needs", sha256));
  }

  void fail(const std::string& why) {
    if (!current_ || current_->begun()) return;
    JobResult result;
    result.mutable_failure()->set_message(why);
    result.mutable_failure()->set_retryable(true);
    finish(std::move(result));
  }

  void begin() {
    current_->begin(store_);
    asio::post(jobs_, [this, job = current_.get()] {
      JobResult result = job->run(handler_, store_);
      asio::post(io_, [this, result = std::move(result)]() mutable { finish(std::move(result)); });
    });
  }

  void finish(JobResult result) {
    const std::unique_ptr<RunningJob> job = std::exchange(current_, nullptr);
    job->resume();
    // Stopped jobs are nobody's any more. Only one that was finished before the worker's own end reached it counts.
    if (!job->stopped() || (stopping_ && !result.has_failure())) {
      if (result.paused_seconds() == 0) result.set_paused_seconds(job->paused_seconds());
      ResultReport report;
      *report.mutable_lease() = job->lease();
      *report.mutable_result() = std::move(result);
      outbox_.put(report);
      save(report.lease().job_key());
    } else if (!stopping_) {
      confirm_cancelled(job->lease());
    }
    proceed();
  }

  void cancel(const LeaseRef& lease) {
    if (outbox_.remove(lease)) {
      sent_.erase(lease.job_key());
      save(lease.job_key());
    }
    std::erase_if(queue_, [&](const Lease& held) { return covers(lease, held.lease()); });
    if (!current_ || !covers(lease, current_->lease())) return confirm_cancelled(lease);
    current_->lease() = lease;
    current_->request_stop();
    if (current_->begun()) return;  // the job thread ends it
    current_.reset();
    confirm_cancelled(lease);
    proceed();
  }

  // Only now may the controller take this worker for idle, and measure beside it.
  void confirm_cancelled(const LeaseRef& lease) {
    ToController out;
    *out.mutable_result()->mutable_lease() = lease;
    out.mutable_result()->mutable_result()->mutable_failure()->set_message("cancelled");
    send(out);
  }

  void pause(std::uint64_t sequence) {
    paused_ = true;
    if (current_) current_->pause();
    handler_.pause();
    ToController out;
    out.mutable_paused()->set_sequence(sequence);
    send(out);
  }

  void resume() {
    if (!std::exchange(paused_, false)) return;
    if (current_) current_->resume();
    handler_.resume();
    proceed();
  }

  void send_progress() {
    progress_waits_ = false;
    if (!current_ || !connection_ || !welcomed_) return;
    if (const auto left = next_progress_ - Clock::now(); left > Clock::duration::zero()) {
      // Set anew by every call, and the last one sends what is newest then.
      progress_timer_.expires_after(left);
      progress_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) send_progress();
      });
      return;
    }
    auto progress = current_->take_progress();
    if (!progress) return;
    next_progress_ = Clock::now() + kProgressInterval;
    ToController out;
    *out.mutable_progress() = std::move(*progress);
    send(out);
  }

  // Results -------------------------------------------------------------------------------------------------------

  void save(const std::string& job_key) {
    asio::post(jobs_, [this, change = outbox_.change_of(job_key)] {
      if (const auto saved = Outbox::save(change); !saved) {
        asio::post(io_, [this, why = saved.error().message] { log("a result is kept in memory only: " + why); });
      }
    });
  }

  // Artifacts first, each offered once a connection; then the results whose artifacts have all arrived.
  void deliver() {
    if (!welcomed_ || !connection_ || paused_) return;
    const auto reports = outbox_.reports();
    for (const auto& [key, report] : reports) {
      const auto artifacts = artifacts_named_by(report.result());
      const auto lost = std::ranges::find_if(artifacts, [this](const NamedArtifact& artifact) {
        return !store_.has(artifact.sha256) && !offers_.delivered(artifact.sha256);
      });
      ToController out;
      *out.mutable_result() = report;
      if (lost != artifacts.end()) {
        offers_.forget(lost->sha256);
        out.mutable_result()->clear_result();
        Failure& failure = *out.mutable_result()->mutable_result()->mutable_failure();
        failure.set_message(std::format("the result's artifact {} was deleted before it was sent", lost->sha256));
        failure.set_retryable(true);
      } else if (!offer(artifacts)) {
        continue;
      }
      if (sent_.insert(key).second) ask(out);
    }
  }

  // True when the controller has all of them.
  bool offer(const std::vector<NamedArtifact>& artifacts) {
    bool all_there = true;
    for (const NamedArtifact& artifact : artifacts) {
      all_there = all_there && offers_.delivered(artifact.sha256);
      if (!offers_.make(artifact.sha256)) continue;
      ToController out;
      out.mutable_artifact_offer()->mutable_artifact()->set_sha256(artifact.sha256);
      out.mutable_artifact_offer()->mutable_artifact()->set_size_bytes(artifact.size_bytes);
      ask(out);
    }
    return all_there;
  }

  void give_bytes(const ArtifactWanted& wanted) {
    if (paused_) return deferred_.push_back(wanted);
    if (!offers_.advances(wanted.sha256(), wanted.offset())) {
      asio::co_spawn(io_, give_later(wanted, connection_), asio::detached);
      return;
    }
    give_now(wanted);
  }

  // Asked again at once, a controller that cannot keep what it gets would ask for ever and be no better off.
  asio::awaitable<void> give_later(ArtifactWanted wanted, std::shared_ptr<Connection> connection) {
    asio::steady_timer timer(io_, std::chrono::seconds(1));
    co_await timer.async_wait(kAwait);
    if (connection == connection_) give_now(wanted);
  }

  void give_now(const ArtifactWanted& wanted) {
    auto chunk = read_chunk(store_, wanted);
    if (!chunk) return deliver();  // it tells the controller that the artifact is lost
    ToController out;
    *out.mutable_artifact_chunk() = std::move(*chunk);
    ask(out);
  }

  void take_acknowledgement(const LeaseRef& lease) {
    if (!outbox_.remove(lease)) return;
    sent_.erase(lease.job_key());
    save(lease.job_key());
  }

  const WorkerOptions& options_;
  JobHandler& handler_;
  ArtifactStore store_;
  Outbox outbox_;
  asio::io_context io_{1};
  asio::steady_timer retry_, progress_timer_, alive_timer_;
  std::expected<void, Error> final_;
  bool stopping_ = false, paused_ = false;

  std::shared_ptr<Connection> connection_;
  std::string trouble_;  // why this end gave the connection up
  bool welcomed_ = false;
  std::chrono::seconds heartbeat_ = kHeartbeat;
  Clock::time_point last_answer_, next_progress_;

  std::deque<Lease> queue_;
  std::unique_ptr<RunningJob> current_;
  bool asked_ = false, storing_ = false;  // a chunk is awaited, or on its way to the disk
  int transfer_failures_ = 0;
  std::atomic<bool> progress_waits_ = false;

  ArtifactOffers offers_;
  std::set<std::string> sent_;            // on this connection, by job key: not yet acknowledged
  std::vector<ArtifactWanted> deferred_;  // until this host no longer measures

  asio::thread_pool jobs_{1};  // last, so that what runs there ends before the rest is gone
};

}  // namespace

std::expected<void, Error> run_worker(const WorkerOptions& options, JobHandler& handler, std::stop_token stop) {
  if (const auto made = make_folder(options.state_folder); !made) return made;
  // A worker that is just ending, or that was killed a moment ago, still holds the folder.
  const auto lock = FileLock::try_for(options.state_folder / "worker.lock", kFolderPatience, stop);
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) {
    return std::unexpected(
        Error{std::format("{} is in use by another worker: stop it, or give this one a folder of its own",
                          options.state_folder.string())});
  }
  try {
    return Worker(options, handler).run(stop);
  } catch (const std::filesystem::filesystem_error& error) {
    return std::unexpected(Error{std::format("{}: cannot be used as the worker's folder: {}",
                                             options.state_folder.string(), error.code().message())});
  } catch (const std::exception& exception) {
    return std::unexpected(Error{std::format("the worker broke off: {}", exception.what())});
  }
}

}  // namespace finch::protocol
