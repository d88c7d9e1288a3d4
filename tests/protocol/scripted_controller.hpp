// The controller's side of a conversation, played by a test message by message over a real socket. It runs on the
// test's thread alone, while that waits for something.
#pragma once

#include <deque>
#include <stdexcept>
#include <string>
#include <utility>

#include <optional>

#include "protocol/artifact_store.hpp"
#include "protocol/artifact_transfer.hpp"
#include "protocol/farm.pb.h"
#include "wire_fixture.hpp"

namespace finch::protocol {

class ScriptedControllerTest : public WireTest {
 protected:
  void serve_as(const std::string& identity) { context_ = server_context(folder / identity).value(); }
  bool try_accept_worker() {
    std::optional<std::expected<ConnectionPtr, Error>> accepted;
    asio::co_spawn(io, accept(context_), [&](std::exception_ptr failure, std::expected<ConnectionPtr, Error> result) {
      if (failure) std::rethrow_exception(failure);
      accepted = std::move(result);
    });
    until([&] { return accepted.has_value(); });
    if (!*accepted) return false;
    connection_ = **accepted;
    inbox_.clear();
    asio::co_spawn(
        io,
        [this, connection = connection_] {
          return connection->read_frames([this, connection](std::string_view frame) {
            ToController message;
            if (!decode_frame_body(frame, message)) throw std::runtime_error("no message");
            if (connection == connection_) inbox_.push_back(std::move(message));
          });
        },
        [](std::exception_ptr, const std::string&) {});
    return true;
  }
  Hello accept_worker() {
    if (!try_accept_worker()) throw std::runtime_error("the worker was not accepted");
    return next(ToController::kHello).hello();
  }
  void drop_connection() { std::exchange(connection_, nullptr)->close(); }

  // The next message, which must be of this kind; heartbeats and progress are skipped unless they are asked for.
  ToController next(ToController::BodyCase kind) {
    for (;;) {
      until([&] { return !inbox_.empty(); });
      ToController message = std::move(inbox_.front());
      inbox_.pop_front();
      const auto found = message.body_case();
      if (found == kind) return message;
      if (found == ToController::kHeartbeat || found == ToController::kProgress) continue;
      throw std::runtime_error("unexpected message: " + message.ShortDebugString().substr(0, 300));
    }
  }
  ResultReport next_result() { return next(ToController::kResult).result(); }

  void send(const google::protobuf::MessageLite& message) { connection_->send(message); }
  void welcome(std::uint32_t heartbeat_seconds = 0) {
    ToWorker out;
    out.mutable_welcome()->set_heartbeat_seconds(heartbeat_seconds);
    send(out);
  }
  void refuse(const std::string& reason, bool final) {
    ToWorker out;
    out.mutable_refused()->set_reason(reason);
    out.mutable_refused()->set_final(final);
    send(out);
    drop_connection();
  }
  void lease(const Lease& lease) {
    ToWorker out;
    *out.mutable_lease() = lease;
    send(out);
  }
  void cancel(const std::string& key, std::uint64_t token) {
    ToWorker out;
    out.mutable_cancel()->mutable_lease()->set_job_key(key);
    out.mutable_cancel()->mutable_lease()->set_token(token);
    send(out);
  }
  void pause(std::uint64_t sequence) {
    ToWorker out;
    out.mutable_pause()->set_sequence(sequence);
    send(out);
  }
  void resume() {
    ToWorker out;
    out.mutable_resume();
    send(out);
  }
  void acknowledge(const ResultReport& report, bool accepted) {
    ToWorker out;
    *out.mutable_result_ack()->mutable_lease() = report.lease();
    out.mutable_result_ack()->set_accepted(accepted);
    send(out);
  }
  void want(const std::string& hash, std::int64_t offset) {
    ToWorker out;
    out.mutable_artifact_wanted()->set_sha256(hash);
    out.mutable_artifact_wanted()->set_offset(offset);
    send(out);
  }
  void send_chunk(const std::string& hash, std::int64_t offset) {
    ArtifactWanted wanted;
    wanted.set_sha256(hash);
    wanted.set_offset(offset);
    ToWorker out;
    *out.mutable_artifact_chunk() = read_chunk(controller_store, wanted).value();
    send(out);
  }
  // Takes the offered artifact chunk by chunk from where it stands; `first_offset_wanted` is where that was.
  void fetch_offered(const std::string& hash) {
    if (next(ToController::kArtifactOffer).artifact_offer().artifact().sha256() != hash)
      throw std::runtime_error("other");
    first_offset_wanted = controller_store.partial_bytes(hash);
    do {
      want(hash, controller_store.partial_bytes(hash));
      const auto taken = take_chunk(controller_store, next(ToController::kArtifactChunk).artifact_chunk());
      if (!taken) throw std::runtime_error(taken.error().message);
    } while (!controller_store.has(hash));
    ToWorker out;
    out.mutable_artifact_have()->set_sha256(hash);
    send(out);
  }
  template <class Condition>
  void until(Condition condition) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    io.restart();
    while (!condition()) {
      if (std::chrono::steady_clock::now() > give_up) throw std::runtime_error("what the test waits for does not come");
      io.run_one_for(std::chrono::milliseconds(5));
      if (io.stopped()) io.restart();
    }
  }

  void forget_connection() { connection_.reset(); }

  ArtifactStore controller_store{folder / "controller-artifacts"};
  std::int64_t first_offset_wanted = -1;

 private:
  Context context_ = server_context(folder / "controller").value();
  ConnectionPtr connection_;
  std::deque<ToController> inbox_;
};

}  // namespace finch::protocol
