#include "controller/farm/farm_server.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>

#include "protocol/artifact_transfer.hpp"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using protocol::ToWorker;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kPoll{50};
constexpr std::chrono::seconds kGrace{5};          // for a worker whose connection broke
constexpr std::chrono::seconds kGraceAtStart{12};  // for workers of an earlier server: their backoff may be long

}  // namespace

FarmServer::FarmServer(asio::io_context& io, const Home& home, FarmOptions options, FarmStore store)
    : io_(io),
      home_(home),
      options_(std::move(options)),
      store_(std::move(store)),
      artifacts_(home.artifacts()),
      acceptor_(io),
      timer_(io) {}

void FarmServer::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

template <typename T>
bool FarmServer::good(const std::expected<T, Error>& value) const {
  if (!value) log(value.error().message);
  return value.has_value();
}

std::expected<void, Error> FarmServer::listen() {
  auto context = protocol::server_context(home_.workers() / protocol::kControllerName);
  if (!context) return std::unexpected(Error{context.error().message});
  context_ = *context;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(options_.bind_address, error);
  if (error)
    return std::unexpected(
        Error{std::format("'{}' is no IP address to listen on", options_.bind_address), ExitCode::usage});
  const tcp::endpoint endpoint(address, options_.port);
  acceptor_.open(endpoint.protocol(), error);
  acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return std::unexpected(Error{std::format("cannot listen on {}:{}: {}; choose another port with --port",
                                             options_.bind_address, options_.port, error.message())});
  }
  port_ = acceptor_.local_endpoint().port();
  good(store_.disconnect_all());
  if (const auto leased = store_.leased(); good(leased)) {
    for (const JobStatus& job : *leased)
      orphans_[job.key] = {job.token, Clock::now() + kGraceAtStart, "its worker did not come back"};
  }
  if (options_.local_workers)
    local_ = std::make_unique<LocalWorkers>(home_, port_, options_.local_profile, options_.log);
  asio::co_spawn(io_, accept_for_ever(), asio::detached);
  asio::co_spawn(io_, tend(), asio::detached);
  return {};
}

void FarmServer::stop() {
  stopping_ = true;
  acceptor_.close();
  timer_.cancel();
  local_.reset();
  for (const auto& [id, session] : sessions_) session->connection->close();
  good(store_.disconnect_all());
  // What hangs must not keep the program from ending.
  auto last = std::make_shared<asio::steady_timer>(io_, std::chrono::seconds(2));
  last->async_wait([this, last](boost::system::error_code) { io_.stop(); });
}

asio::awaitable<void> FarmServer::accept_for_ever() {
  while (!stopping_) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (!error) asio::co_spawn(io_, serve(std::move(socket)), asio::detached);
    if (error && !stopping_) {  // out of descriptors, most likely: others must end first
      asio::steady_timer pause(io_, std::chrono::seconds(1));
      co_await pause.async_wait(kAwait);
    }
  }
}

asio::awaitable<void> FarmServer::serve(tcp::socket socket) {
  auto session = std::make_shared<FarmSession>();
  session->id = next_id_++;
  session->connection = std::make_shared<protocol::Connection>(std::move(socket), context_);
  const std::string address = session->connection->peer_address();
  if (const auto shaken = co_await session->connection->handshake(true); !shaken) {
    log(std::format("refused a connection from {}: {}", address, shaken.error().message));
    co_return;
  }
  session->certified_name = session->connection->peer_name();
  sessions_[session->id] = session;
  asio::co_spawn(io_, heartbeats(session), asio::detached);
  const std::string why =
      co_await session->connection->read_frames([this, session](std::string_view frame) { take(*session, frame); });
  sessions_.erase(session->id);
  gone(*session, why);
}

asio::awaitable<void> FarmServer::heartbeats(std::shared_ptr<FarmSession> session) {
  asio::steady_timer timer(io_);
  while (sessions_.contains(session->id)) {
    ToWorker out;
    out.mutable_heartbeat();
    session->send(out);
    timer.expires_after(protocol::kHeartbeat);
    co_await timer.async_wait(kAwait);
  }
}

void FarmServer::take(FarmSession& session, std::string_view frame) {
  protocol::ToController message;
  if (!message.ParseFromArray(frame.data(), static_cast<int>(frame.size())))
    return refuse(session, "that is no message of Finch's", true);
  if (message.has_join()) return take_join(session, message.join());
  if (session.certified_name.empty())
    return refuse(session,
                  "a device without a certificate may only join; use the command that finch devices invite prints",
                  true);
  if (message.has_hello()) return take_hello(session, message.hello());
  if (!session.welcomed) return;
  switch (message.body_case()) {
    case protocol::ToController::kProgress: {
      const auto& progress = message.progress();
      good(store_.report_progress(progress.lease().job_key(), progress.lease().token(), progress.fraction(),
                                  progress.message()));
      return;
    }
    case protocol::ToController::kResult:
      return take_result(session, message.result());
    case protocol::ToController::kPaused:
      if (message.paused().sequence() == session.pause_sequence) session.view.paused = session.view.pause_sent;
      return schedule();
    case protocol::ToController::kArtifactWanted: {
      ToWorker out;
      if (auto chunk = protocol::read_chunk(artifacts_, message.artifact_wanted())) {
        *out.mutable_artifact_chunk() = std::move(*chunk);
      } else {
        out.mutable_artifact_missing()->set_sha256(message.artifact_wanted().sha256());
      }
      return session.send(out);
    }
    case protocol::ToController::kArtifactOffer:
      return take_offer(session, message.artifact_offer().artifact().sha256());
    case protocol::ToController::kArtifactChunk:
      return take_chunk(session, message.artifact_chunk());
    default:
      return;
  }
}

void FarmServer::take_join(FarmSession& session, const protocol::Join& join) {
  const auto invited = store_.redeem(join.token());
  if (!good(invited)) return refuse(session, "the controller cannot read its records now", false);
  if (!*invited)
    return refuse(session,
                  "this invitation is not known: it was used, has expired or was replaced; make a new one with: finch "
                  "devices invite NAME",
                  true);
  const auto authority = protocol::Authority::load_or_create(home_.authority());
  const auto certificate = authority ? authority->issue((*invited)->name, join.certificate_request_pem())
                                     : std::unexpected(authority.error());
  if (!certificate) return refuse(session, certificate.error().message, true);
  ToWorker out;
  out.mutable_joined()->set_name((*invited)->name);
  out.mutable_joined()->set_profile((*invited)->profile);
  out.mutable_joined()->set_certificate_pem(*certificate);
  out.mutable_joined()->set_authority_pem(authority->certificate_pem());
  session.send(out);
  log(std::format("device {} joined from {}", (*invited)->name, session.connection->peer_address()));
}

void FarmServer::take_hello(FarmSession& session, const protocol::Hello& hello) {
  if (hello.protocol_version() != protocol::kProtocolVersion) {
    return refuse(
        session,
        std::format("it speaks version {} of the protocol, this controller version {}; install the same Finch on both",
                    hello.protocol_version(), protocol::kProtocolVersion),
        true);
  }
  if (session.certified_name == protocol::kControllerName) return refuse(session, "a controller is no worker", true);
  for (const auto& [id, other] : sessions_) {
    // A worker that reconnects is quicker than the end of its dead connection: the newer one counts.
    if (id != session.id && other->welcomed && other->certified_name == session.certified_name)
      other->connection->close();
  }
  session.welcomed = true;
  session.view = {
      .id = session.id, .agent = hello.role() == protocol::AGENT, .name = session.certified_name, .host = hello.host()};
  ToWorker out;
  out.mutable_welcome()->set_heartbeat_seconds(static_cast<std::uint32_t>(protocol::kHeartbeat.count()));
  session.send(out);
  if (session.view.agent) {
    session.device = hello.device();
    session.device.set_name(session.certified_name);
    good(store_.device_seen(session.device, true));
  }
  log(std::format("{} {} connected", session.view.agent ? "agent" : "trainer", session.certified_name));
  for (const protocol::LeaseRef& held : hello.held()) {
    const auto valid = store_.holds(held.job_key(), held.token());
    if (good(valid) && *valid) {
      orphans_.erase(held.job_key());
      // What kind it is matters for measurements only, and one cannot have gone on undisturbed: it is leased anew.
      if (session.view.agent) {
        good(store_.release(held.job_key(), held.token(), "the connection broke during a measurement"));
      } else {
        session.job = HeldJob{held.job_key(), held.token(), WorkKind::train};
        session.view.busy = true;
        continue;
      }
    }
    ToWorker cancel;
    *cancel.mutable_cancel()->mutable_lease() = held;
    session.send(cancel);
  }
  look_for_jobs();
}

void FarmServer::take_result(FarmSession& session, const protocol::ResultReport& report) {
  const auto recorded = store_.complete(report.lease().job_key(), report.lease().token(),
                                        report.result().SerializeAsString(), report.result().has_failure());
  if (!good(recorded)) return;  // not acknowledged: the worker sends it again
  ToWorker out;
  *out.mutable_result_ack()->mutable_lease() = report.lease();
  out.mutable_result_ack()->set_accepted(*recorded);
  session.send(out);
  orphans_.erase(report.lease().job_key());
  if (session.job && session.job->key == report.lease().job_key()) {
    session.job.reset();
    session.view.busy = false;
  }
  look_for_jobs();
}

void FarmServer::take_offer(FarmSession& session, const std::string& sha256) {
  ToWorker out;
  if (artifacts_.has(sha256)) {
    out.mutable_artifact_have()->set_sha256(sha256);
  } else {
    out.mutable_artifact_wanted()->set_sha256(sha256);
    out.mutable_artifact_wanted()->set_offset(artifacts_.partial_bytes(sha256));
  }
  session.send(out);
}

void FarmServer::take_chunk(FarmSession& session, const protocol::ArtifactChunk& chunk) {
  if (const auto taken = protocol::take_chunk(artifacts_, chunk); !taken)
    log(session.certified_name + ": " + taken.error().message);
  take_offer(session, chunk.sha256());  // says what comes next: more bytes, or that all is here
}

void FarmServer::refuse(FarmSession& session, const std::string& reason, bool final) {
  ToWorker out;
  out.mutable_refused()->set_reason(reason);
  out.mutable_refused()->set_final(final);
  session.send(out);
  session.connection->close();
  log(std::format("refused {}: {}",
                  session.certified_name.empty() ? session.connection->peer_address() : session.certified_name,
                  reason));
}

void FarmServer::gone(FarmSession& session, const std::string& why) {
  if (!session.welcomed) return;
  if (session.job)
    orphans_[session.job->key] = {session.job->token, Clock::now() + kGrace,
                                  std::format("{} was lost: {}", session.certified_name, why)};
  if (stopping_) return;
  bool replaced = false;
  for (const auto& [id, other] : sessions_)
    replaced = replaced || (other->welcomed && other->certified_name == session.certified_name);
  if (session.view.agent && !replaced) good(store_.device_seen(session.device, false));
  log(std::format("{} disconnected: {}", session.certified_name, why));
  schedule();
}

asio::awaitable<void> FarmServer::tend() {
  auto next_workers = Clock::now();
  while (!stopping_) {
    if (const auto version = store_.data_version(); version != seen_version_) {
      seen_version_ = version;
      look_for_jobs();
    }
    release_overdue();
    if (local_ && Clock::now() >= next_workers && (!queue_.empty() || !sessions_.empty())) {
      next_workers = Clock::now() + std::chrono::milliseconds(500);
      local_->tend();
    }
    timer_.expires_after(kPoll);
    co_await timer_.async_wait(kAwait);
  }
}

void FarmServer::release_overdue() {
  for (auto orphan = orphans_.begin(); orphan != orphans_.end();) {
    if (Clock::now() < orphan->second.deadline) {
      ++orphan;
      continue;
    }
    good(store_.release(orphan->first, orphan->second.token, orphan->second.why));
    orphan = orphans_.erase(orphan);
    look_for_jobs();
  }
}

void FarmServer::look_for_jobs() {
  auto queued = store_.queued();
  if (!good(queued)) return;
  queue_ = std::move(*queued);
  for (const auto& [id, session] : sessions_) {
    if (!session->job) continue;
    const auto valid = store_.holds(session->job->key, session->job->token);
    if (!good(valid) || *valid) continue;
    ToWorker out;  // cancelled by the campaign
    out.mutable_cancel()->mutable_lease()->set_job_key(session->job->key);
    out.mutable_cancel()->mutable_lease()->set_token(session->job->token);
    session->send(out);
    session->job.reset();
    session->view.busy = false;
  }
  schedule();
}

void FarmServer::schedule() {
  std::vector<WorkerView> workers;
  for (const auto& [id, session] : sessions_) {
    if (session->welcomed) workers.push_back(session->view);
  }
  std::vector<JobView> jobs;
  for (const QueuedJob& queued : queue_) {
    protocol::Job job;
    job.ParseFromString(queued.job);
    jobs.push_back({queued.key, kind_of(job), queued.target});
  }
  for (const Action& action : plan(workers, jobs)) {
    FarmSession& session = *sessions_.at(action.worker);
    ToWorker out;
    switch (action.kind) {
      case Action::Kind::pause:
        session.view.pause_sent = true;
        session.view.paused = false;
        out.mutable_pause()->set_sequence(++session.pause_sequence);
        session.send(out);
        break;
      case Action::Kind::resume:
        session.view.pause_sent = session.view.paused = false;
        out.mutable_resume();
        session.send(out);
        break;
      case Action::Kind::lease:
        if (const auto job = std::ranges::find(queue_, action.job, &QueuedJob::key); job != queue_.end()) {
          const QueuedJob given = *job;
          queue_.erase(job);
          lease(session, given);
        }
        break;
    }
  }
}

void FarmServer::lease(FarmSession& session, const QueuedJob& job) {
  const auto token = store_.lease(job.key, session.certified_name);
  if (!good(token) || !*token) return;
  ToWorker out;
  out.mutable_lease()->mutable_lease()->set_job_key(job.key);
  out.mutable_lease()->mutable_lease()->set_token(**token);
  out.mutable_lease()->mutable_job()->ParseFromString(job.job);
  session.job = HeldJob{job.key, **token, kind_of(out.lease().job())};
  session.view.busy = true;
  session.view.work = session.job->kind;
  session.send(out);
}

}  // namespace finch::controller
