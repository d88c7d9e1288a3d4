#include "controller/farm/farm_server.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <format>
#include <set>

#include "protocol/artifact_transfer.hpp"
#include "protocol/identity.hpp"

namespace finch::controller {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using protocol::ToWorker;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::minutes kLogAgain{10};
constexpr std::size_t kLinesRemembered = 1000;

std::set<std::string> local_workers(const FarmOptions& options) {
  if (!options.local_workers) return {};
  std::set<std::string> names(kMoreLocalTrainers.begin(), kMoreLocalTrainers.end());
  names.insert({kLocalAgent, kLocalTrainer});
  return names;
}

const char* name_of(protocol::Role role) {
  return role == protocol::AGENT ? "agent" : "trainer";
}

}  // namespace

FarmServer::FarmServer(asio::io_context& io, const Home& home, FarmOptions options, FarmStore store)
    : io_(io),
      home_(home),
      options_(std::move(options)),
      store_(std::move(store)),
      artifacts_(home.artifacts()),
      dispatcher_(store_,
                  {.send =
                       [this](const std::string& worker, const ToWorker& message) {
                         if (const auto session = workers_.find(worker); session != workers_.end())
                           session->second->connection->send(message);
                       },
                   .disconnect =
                       [this](const std::string& worker, const std::string&) {
                         if (const auto session = workers_.find(worker); session != workers_.end())
                           session->second->connection->close();
                       },
                   .has_artifact = [this](const std::string& sha256) { return artifacts_.has(sha256); },
                   .log = [this](const std::string& line) { log(line); }},
                  local_workers(options_)),
      acceptor_(io),
      timer_(io),
      last_call_(io) {}

void FarmServer::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

void FarmServer::log_once(const std::string& line) {
  if (logged_.size() > kLinesRemembered) logged_.clear();
  const auto [logged, first] = logged_.try_emplace(line, Clock::now());
  if (!first && Clock::now() - logged->second < kLogAgain) return;
  logged->second = Clock::now();
  log(line);
}

bool FarmServer::is_local(const std::string& name) const {
  return local_workers(options_).contains(name);
}

std::expected<void, Error> FarmServer::listen() {
  auto context = protocol::server_context(home_.workers() / protocol::kControllerName);
  if (!context) return std::unexpected(Error{context.error().message});
  context_ = *context;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(options_.bind_address, error);
  if (error) {
    return std::unexpected(Error{
        std::format("'{}' is no IP address to listen on; use one of this machine, or 0.0.0.0", options_.bind_address),
        ExitCode::usage});
  }
  const tcp::endpoint endpoint(address, options_.port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    const char* remedy = error == asio::error::address_in_use
                             ? "end the program that has it (see: ss -ltnp), or choose another with --port"
                             : "choose another address with --bind or another port with --port";
    return std::unexpected(Error{std::format("cannot listen on {} port {}: {}; {}", options_.bind_address,
                                             options_.port, error.message(), remedy)});
  }
  port_ = acceptor_.local_endpoint().port();
  dispatcher_.begin(Clock::now());
  if (options_.local_workers) {
    const std::string host = address.is_unspecified() ? "127.0.0.1" : options_.bind_address;
    local_ = std::make_unique<LocalWorkers>(
        home_, LocalWorkers::Options{.controller = std::format("{}:{}", host, port_),
                                     .profile = options_.local_profile,
                                     .programs = program_folder(),
                                     .log = [this](const std::string& line) { log(line); }});
  }
  asio::co_spawn(io_, accept_for_ever(), asio::detached);
  asio::co_spawn(io_, tend(), asio::detached);
  return {};
}

void FarmServer::stop() {
  stopping_ = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  timer_.cancel();
  local_.reset();
  for (const auto& [id, session] : sessions_) session->connection->close();
  if (sessions_.empty()) return io_.stop();
  // What hangs must not keep the program from ending.
  last_call_.expires_after(std::chrono::seconds(2));
  last_call_.async_wait([this](boost::system::error_code) { io_.stop(); });
}

asio::awaitable<void> FarmServer::accept_for_ever() {
  while (!stopping_) {
    auto [error, socket] = co_await acceptor_.async_accept(kAwait);
    if (stopping_) break;
    if (!error) {
      asio::co_spawn(io_, serve(std::move(socket)), asio::detached);
      continue;
    }
    log_once(std::format("no further connection can be accepted: {}; raise the limit of open files (ulimit -n)",
                         error.message()));
    asio::steady_timer pause(io_, std::chrono::seconds(1));
    co_await pause.async_wait(kAwait);
  }
}

asio::awaitable<void> FarmServer::serve(tcp::socket socket) {
  const auto session = std::make_shared<Session>();
  session->id = next_id_++;
  session->connection = std::make_shared<protocol::Connection>(std::move(socket), context_);
  session->address = session->connection->peer_address();
  if (const auto shaken = co_await session->connection->handshake(true); !shaken) {
    log_once(std::format("refused a connection from {}: {}", session->address, shaken.error().message));
    co_return;
  }
  session->name = session->connection->peer_name();
  session->last_heard = Clock::now();
  session->heartbeat = std::make_unique<asio::steady_timer>(io_);
  sessions_[session->id] = session;
  asio::co_spawn(io_, heartbeats(session), asio::detached);
  const std::string why =
      co_await session->connection->read_frames([this, session](std::string_view frame) { take(*session, frame); });
  sessions_.erase(session->id);
  session->heartbeat->cancel();
  part(*session, why);
  if (stopping_ && sessions_.empty()) io_.stop();
}

asio::awaitable<void> FarmServer::heartbeats(std::shared_ptr<Session> session) {
  while (sessions_.contains(session->id)) {
    ToWorker out;
    out.mutable_heartbeat();
    session->connection->send(out);
    session->heartbeat->expires_after(protocol::kHeartbeat);
    co_await session->heartbeat->async_wait(kAwait);
  }
}

void FarmServer::take(Session& session, std::string_view frame) {
  session.last_heard = Clock::now();
  protocol::ToController message;
  if (const auto decoded = protocol::decode_frame_body(frame, message); !decoded) {
    return refuse(session, decoded.error().message, true);
  }
  if (message.has_join()) return take_join(session, message.join());
  if (session.name.empty()) {
    return refuse(session, "without a certificate it may only join: run the command that finch devices invite prints",
                  true);
  }
  if (message.has_hello()) return take_hello(session, message.hello());
  if (!session.welcomed) return;
  switch (message.body_case()) {
    case protocol::ToController::kProgress:
      return dispatcher_.take_progress(Clock::now(), session.name, message.progress());
    case protocol::ToController::kResult:
      patience_.reset();  // whoever waited for it will want more
      return dispatcher_.take_result(Clock::now(), session.name, message.result());
    case protocol::ToController::kPaused:
      return dispatcher_.take_paused(Clock::now(), session.name, message.paused());
    case protocol::ToController::kArtifactWanted:
      return send_chunk(session, message.artifact_wanted());
    case protocol::ToController::kArtifactOffer:
      return take_offer(session, message.artifact_offer().artifact().sha256());
    case protocol::ToController::kArtifactChunk:
      return take_chunk(session, message.artifact_chunk());
    default:
      return;
  }
}

void FarmServer::take_join(Session& session, const protocol::Join& join) {
  const auto invited = store_.redeem(join.token());
  if (!invited) {
    log(invited.error().message);
    return refuse(session, "the controller cannot read its records now; try again in a moment", false);
  }
  if (!*invited) {
    return refuse(
        session,
        "this invitation was used, has expired or was replaced; make a new one with: finch devices invite NAME", true);
  }
  const auto authority = protocol::Authority::load_or_create(home_.authority());
  const auto certificate = authority ? authority->issue((*invited)->name, join.certificate_request_pem())
                                     : std::unexpected(authority.error());
  if (!certificate) return refuse(session, certificate.error().message, true);
  ToWorker out;
  out.mutable_joined()->set_name((*invited)->name);
  out.mutable_joined()->set_profile((*invited)->profile);
  out.mutable_joined()->set_certificate_pem(*certificate);
  out.mutable_joined()->set_authority_pem(authority->certificate_pem());
  session.connection->send(out);
  session.connection->close();
  log(std::format("{} joined from {}", (*invited)->name, session.address));
}

std::optional<protocol::Refused> FarmServer::objection(const Session& session, const protocol::Hello& hello) {
  const auto refusal = [](const std::string& reason, bool final) {
    protocol::Refused refused;
    refused.set_reason(reason);
    refused.set_final(final);
    return refused;
  };
  if (hello.protocol_version() != protocol::kProtocolVersion) {
    const bool worker_is_older = hello.protocol_version() < protocol::kProtocolVersion;
    return refusal(
        std::format("the {0} (Finch {1}) speaks version {2} of the protocol, this controller (Finch {3}) version {4}; "
                    "update the {5} to the {6}'s Finch",
                    name_of(hello.role()), hello.software_version(), hello.protocol_version(), FINCH_VERSION,
                    protocol::kProtocolVersion, worker_is_older ? name_of(hello.role()) : "controller",
                    worker_is_older ? "controller" : name_of(hello.role())),
        true);
  }
  if (hello.role() != protocol::AGENT && hello.role() != protocol::TRAINER) {
    return refusal("it is neither an agent nor a trainer", true);
  }
  if (session.name == protocol::kControllerName) return refusal("a controller is no worker", true);
  if (!is_local(session.name)) {
    const auto admitted = store_.admitted();
    if (!admitted) return refusal("the controller cannot read its records now", false);
    if (!admitted->contains(session.name)) {
      return refusal(
          std::format("{0} was removed from this farm; invite it anew with: finch devices invite {0}", session.name),
          true);
    }
  }
  const auto other = workers_.find(session.name);
  if (other != workers_.end() && Clock::now() - other->second->last_heard < 2 * protocol::kHeartbeat) {
    return refusal(std::format("{} is connected already, from {}; every device needs an invitation of its own",
                               session.name, other->second->address),
                   false);
  }
  return std::nullopt;
}

void FarmServer::take_hello(Session& session, const protocol::Hello& hello) {
  if (session.welcomed) return;
  if (const auto refused = objection(session, hello)) return refuse(session, refused->reason(), refused->final());
  if (const auto other = workers_.find(session.name); other != workers_.end()) {
    const auto replaced = other->second;  // it has been silent: its end has just not been noticed yet
    part(*replaced, "it has connected anew");
    replaced->connection->close();
  }
  session.welcomed = true;
  workers_[session.name] = sessions_.at(session.id);
  ToWorker out;
  out.mutable_welcome()->set_software_version(FINCH_VERSION);
  out.mutable_welcome()->set_heartbeat_seconds(static_cast<std::uint32_t>(protocol::kHeartbeat.count()));
  session.connection->send(out);
  log(std::format("{} {} connected from {}", name_of(hello.role()), session.name, session.address));
  dispatcher_.connected(Clock::now(), session.name, hello);
}

void FarmServer::send_chunk(Session& session, const protocol::ArtifactWanted& wanted) {
  ToWorker out;
  if (auto chunk = protocol::read_chunk(artifacts_, wanted)) {
    *out.mutable_artifact_chunk() = std::move(*chunk);
  } else {
    out.mutable_artifact_missing()->set_sha256(wanted.sha256());
  }
  session.connection->send(out);
}

void FarmServer::take_offer(Session& session, const std::string& sha256) {
  ToWorker out;
  if (artifacts_.has(sha256)) {
    out.mutable_artifact_have()->set_sha256(sha256);
  } else {
    out.mutable_artifact_wanted()->set_sha256(sha256);
    out.mutable_artifact_wanted()->set_offset(artifacts_.partial_bytes(sha256));
  }
  session.connection->send(out);
}

void FarmServer::take_chunk(Session& session, const protocol::ArtifactChunk& chunk) {
  if (const auto taken = protocol::take_chunk(artifacts_, chunk); !taken) {
    log_once(std::format("from {}: {}", session.name, taken.error().message));
  }
  take_offer(session, chunk.sha256());  // says what comes next: more bytes, or that all is here
}

void FarmServer::refuse(Session& session, const std::string& reason, bool final) {
  ToWorker out;
  out.mutable_refused()->set_reason(reason);
  out.mutable_refused()->set_final(final);
  session.connection->send(out);
  session.connection->close();
  log_once(std::format("refused {}: {}", session.name.empty() ? session.address : session.name, reason));
}

void FarmServer::part(Session& session, const std::string& why) {
  if (!std::exchange(session.welcomed, false)) return;
  workers_.erase(session.name);
  dispatcher_.lost(Clock::now(), session.name, why);
  if (!stopping_) log(std::format("{} disconnected: {}", session.name, why));
}

// Those that were removed while they are connected.
void FarmServer::turn_away_forgotten() {
  const auto admitted = store_.admitted();
  if (!admitted) return;
  for (const auto& [name, session] : workers_) {
    if (is_local(name) || admitted->contains(name)) continue;
    refuse(*session, std::format("{} was removed from this farm", name), true);
  }
}

asio::awaitable<void> FarmServer::tend() {
  while (!stopping_) {
    if (dispatcher_.tick(Clock::now())) {
      patience_.reset();
      turn_away_forgotten();
    }
    if (local_) tend_local_workers();
    timer_.expires_after(patience_.next());
    co_await timer_.async_wait(kAwait);
  }
}

void FarmServer::tend_local_workers() {
  const auto need = dispatcher_.local_need();
  for (const auto& failure : local_->tend({.agent = need.agent, .trainer = need.trainer})) {
    dispatcher_.fail_local(failure.worker == LocalWorkers::Kind::agent ? WorkerRole::agent : WorkerRole::trainer,
                           failure.why);
  }
}

}  // namespace finch::controller
