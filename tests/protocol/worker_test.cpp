#include "protocol/worker.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "protocol/durable_file.hpp"
#include "protocol/outbox.hpp"
#include "scripted_worker.hpp"

namespace finch::protocol {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string patterned(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
  return bytes;
}

Lease measuring(const std::string& key, std::uint64_t token, const std::string& model = {}) {
  Lease lease;
  lease.mutable_lease()->set_job_key(key);
  lease.mutable_lease()->set_token(token);
  lease.mutable_job()->mutable_measure()->set_device(key);
  if (!model.empty()) lease.mutable_job()->mutable_measure()->mutable_model()->set_sha256(model);
  return lease;
}

ResultReport report_of(const std::string& key, std::uint64_t token) {
  ResultReport report;
  report.mutable_lease()->set_job_key(key);
  report.mutable_lease()->set_token(token);
  report.mutable_result()->mutable_measurement()->set_device(key);
  return report;
}

class WorkerTest : public ScriptedWorkerTest {};

TEST_F(WorkerTest, HelloWelcomeLeaseResultAcknowledgement) {
  start_worker();
  const Hello hello = accept_worker();
  EXPECT_EQ(hello.protocol_version(), kProtocolVersion);
  EXPECT_EQ(hello.host(), "this-host");
  EXPECT_EQ(hello.held_size(), 0);
  welcome();
  lease(measuring("job", 7));
  const ResultReport report = next_result();
  EXPECT_EQ(report.lease().job_key(), "job");
  EXPECT_EQ(report.lease().token(), 7u);
  EXPECT_EQ(report.result().measurement().device(), "job");
  acknowledge(report, true);
  lease(measuring("second", 8));
  EXPECT_EQ(next_result().lease().job_key(), "second");
  EXPECT_TRUE(stop_worker());
  EXPECT_EQ(handler.threads_seen(), 1u) << "children die with the thread that started them";
}

TEST_F(WorkerTest, HeartbeatsAreSentAsOftenAsTheWelcomeSays) {
  start_worker();
  accept_worker();
  welcome(1);
  EXPECT_TRUE(next(ToController::kHeartbeat).has_heartbeat());
  EXPECT_TRUE(next(ToController::kHeartbeat).has_heartbeat());
}

TEST_F(WorkerTest, GivesSignsOfLifeFromItsNetworkThreadAlsoWithoutAController) {
  start_worker();
  until([&] { return signs_of_life > 2; });
  accept_worker();
  welcome();
  const int before = signs_of_life;
  until([&] { return signs_of_life > before; });
  EXPECT_TRUE(stop_worker());
  EXPECT_EQ(life_threads(), handler.network_threads());
}

TEST_F(WorkerTest, ReconnectsWhenTheControllerGoesAndNamesItsLeases) {
  handler.block("slow");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("slow", 3));
  lease(measuring("waiting", 4));
  wait_until_running("slow");
  drop_connection();
  const Hello hello = accept_worker();
  ASSERT_EQ(hello.held_size(), 2);
  EXPECT_EQ(hello.held(0).job_key(), "slow");
  EXPECT_EQ(hello.held(0).token(), 3u);
  EXPECT_EQ(hello.held(1).job_key(), "waiting");
  welcome();
  handler.release("slow");
  EXPECT_EQ(next_result().lease().job_key(), "slow");
  EXPECT_EQ(next_result().lease().job_key(), "waiting");
  EXPECT_THAT(handler.runs(), ElementsAre("slow", "waiting"));
}

TEST_F(WorkerTest, AResultIsSentAgainUntilItIsAcknowledged) {
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 5));
  EXPECT_EQ(next_result().lease().token(), 5u);
  drop_connection();  // before the acknowledgement
  Hello hello = accept_worker();
  ASSERT_EQ(hello.held_size(), 1);
  EXPECT_EQ(hello.held(0).job_key(), "job");
  welcome();
  const ResultReport again = next_result();
  EXPECT_EQ(again.lease().token(), 5u);
  acknowledge(again, false);  // somebody else holds the job by now
  lease(measuring("barrier", 6));
  EXPECT_EQ(next_result().lease().job_key(), "barrier");
  drop_connection();
  hello = accept_worker();
  ASSERT_EQ(hello.held_size(), 1);
  EXPECT_EQ(hello.held(0).job_key(), "barrier") << "what was acknowledged is forgotten";
  EXPECT_THAT(handler.runs(), ElementsAre("job", "barrier"));
}

TEST_F(WorkerTest, AResultOutlivesTheWorker) {
  start_worker();
  accept_worker();
  welcome();
  const std::string output = handler.will_write("job", patterned(400'000));
  lease(measuring("job", 5));
  EXPECT_EQ(next(ToController::kArtifactOffer).artifact_offer().artifact().sha256(), output);
  drop_connection();
  EXPECT_TRUE(stop_worker());

  start_worker();
  const Hello hello = accept_worker();
  ASSERT_EQ(hello.held_size(), 1);
  EXPECT_EQ(hello.held(0).job_key(), "job");
  welcome();
  fetch_offered(output);
  const ResultReport report = next_result();
  EXPECT_EQ(report.lease().token(), 5u);
  EXPECT_THAT(handler.runs(), ElementsAre("job"));
  acknowledge(report, true);
  barrier();
  EXPECT_TRUE(stop_worker());

  start_worker();
  EXPECT_EQ(accept_worker().held_size(), 0);
}

TEST_F(WorkerTest, ADownloadThatBreaksGoesOnAtTheByte) {
  const std::string model = patterned(3 * kChunkBytes + 17);
  const std::string hash = controller_store.add_bytes(model).value();
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 1, hash));
  EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), 0);
  send_chunk(hash, 0);
  const auto second = static_cast<std::int64_t>(kChunkBytes);
  EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), second);
  drop_connection();
  accept_worker();
  welcome();
  EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), second);
  send_chunk(hash, second);
  EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), 2 * second);
  EXPECT_TRUE(stop_worker());

  start_worker();
  EXPECT_EQ(accept_worker().held_size(), 0) << "a job that has not begun is given up";
  welcome();
  lease(measuring("job", 2, hash));
  EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), 2 * second);
  send_chunk(hash, 2 * second);
  EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), 3 * second);
  send_chunk(hash, 3 * second);
  EXPECT_EQ(next_result().lease().token(), 2u);
  EXPECT_EQ(handler.input_of("job"), model);
}

TEST_F(WorkerTest, AnUploadThatBreaksGoesOnAtTheByte) {
  start_worker();
  accept_worker();
  welcome();
  const std::string output = handler.will_write("job", patterned(2 * kChunkBytes + 5));
  lease(measuring("job", 1));
  EXPECT_EQ(next(ToController::kArtifactOffer).artifact_offer().artifact().sha256(), output);
  want(output, 0);
  const ArtifactChunk chunk = next(ToController::kArtifactChunk).artifact_chunk();
  EXPECT_EQ(chunk.offset(), 0);
  EXPECT_EQ(chunk.total_bytes(), static_cast<std::int64_t>(2 * kChunkBytes + 5));
  ASSERT_TRUE(take_chunk(controller_store, chunk));
  drop_connection();
  accept_worker();
  welcome();
  fetch_offered(output);
  EXPECT_EQ(first_offset_wanted, static_cast<std::int64_t>(kChunkBytes));
  EXPECT_EQ(read_whole_file(controller_store.path_of(output)), patterned(2 * kChunkBytes + 5));
  const ResultReport report = next_result();
  EXPECT_EQ(report.result().measurement().raw().sha256(), output);
}

TEST_F(WorkerTest, ACorruptedTransferIsTriedAgainAndThenFails) {
  const std::string hash = controller_store.add_bytes(patterned(100)).value();
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 1, hash));
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_EQ(next(ToController::kArtifactWanted).artifact_wanted().offset(), 0);
    ToWorker out;
    out.mutable_artifact_chunk()->set_sha256(hash);
    out.mutable_artifact_chunk()->set_total_bytes(100);
    out.mutable_artifact_chunk()->set_data(std::string(100, 'x'));
    send(out);
  }
  const ResultReport report = next_result();
  EXPECT_THAT(report.result().failure().message(), HasSubstr(hash.substr(0, 12)));
  EXPECT_TRUE(report.result().failure().retryable());
  EXPECT_THAT(handler.runs(), ElementsAre());
}

TEST_F(WorkerTest, AnArtifactTheControllerLacksFailsTheJob) {
  start_worker();
  accept_worker();
  welcome();
  const std::string hash = sha256_hex("gone");
  lease(measuring("job", 1, hash));
  next(ToController::kArtifactWanted);
  ToWorker out;
  out.mutable_artifact_missing()->set_sha256(hash);
  send(out);
  EXPECT_THAT(next_result().result().failure().message(), HasSubstr(hash));
  lease(measuring("next", 2));
  EXPECT_EQ(next_result().lease().job_key(), "next");
}

TEST_F(WorkerTest, CancelStopsTheRunningJobAndDropsWaitingOnes) {
  handler.block("running");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("running", 1));
  lease(measuring("waiting", 2));
  lease(measuring("last", 3));
  wait_until_running("running");
  cancel("waiting", 2);
  EXPECT_EQ(next_result().lease().job_key(), "waiting") << "confirmed, for nothing of it runs";
  cancel("running", 1);
  const ResultReport confirmation = next_result();
  EXPECT_EQ(confirmation.lease().job_key(), "running");
  EXPECT_TRUE(confirmation.result().has_failure());
  EXPECT_TRUE(handler.was_stopped("running")) << "confirmed before its end";
  EXPECT_EQ(next_result().lease().job_key(), "last");
  EXPECT_THAT(handler.runs(), ElementsAre("running", "last"));
  EXPECT_TRUE(handler.was_stopped("running"));
}

TEST_F(WorkerTest, ACancelOfAnEarlierLeaseDoesNotTouchALaterOne) {
  handler.block("job");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 5));
  wait_until_running("job");
  cancel("job", 4);
  EXPECT_EQ(next_result().lease().token(), 4u);
  lease(measuring("job", 6));  // leased again: what is done counts under the later token
  barrier();
  handler.release("job");
  const ResultReport report = next_result();
  EXPECT_EQ(report.lease().token(), 6u);
  EXPECT_FALSE(handler.was_stopped("job"));
  EXPECT_THAT(handler.runs(), ElementsAre("job"));
}

TEST_F(WorkerTest, PauseStandsStillUntilResume) {
  handler.block("running");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("running", 1));
  wait_until_running("running");
  pause(41);
  EXPECT_EQ(next(ToController::kPaused).paused().sequence(), 41u);
  EXPECT_TRUE(handler.paused());
  handler.release("running");  // it ends, but no other may begin
  lease(measuring("waiting", 2));
  pause(42);
  EXPECT_EQ(next(ToController::kPaused).paused().sequence(), 42u);
  EXPECT_THAT(handler.runs(), ElementsAre("running"));
  resume();
  const ResultReport first = next_result();
  EXPECT_EQ(first.lease().job_key(), "running");
  EXPECT_GT(first.result().paused_seconds(), 0);
  EXPECT_EQ(next_result().lease().job_key(), "waiting");
  EXPECT_FALSE(handler.paused());
}

TEST_F(WorkerTest, APauseOutlivesTheConnectionUntilTheNextControllerSpeaks) {
  start_worker();
  accept_worker();
  welcome();
  pause(1);
  next(ToController::kPaused);
  drop_connection();
  accept_worker();
  EXPECT_TRUE(handler.paused()) << "whoever measures on this host may still do so";
  welcome();
  barrier();
  EXPECT_FALSE(handler.paused());
}

TEST_F(WorkerTest, ProgressArrivesNewestLast) {
  handler.block("job");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 1));
  wait_until_running("job");
  for (int i = 1; i <= 1000; ++i) handler.report_progress("job", i / 1000.0);
  int messages = 0;
  Progress progress;
  do {
    progress = next(ToController::kProgress).progress();
    EXPECT_EQ(progress.lease().job_key(), "job");
    ++messages;
  } while (progress.fraction() < 1);
  EXPECT_LT(messages, 100) << "a busy job must not flood the connection";
}

TEST_F(WorkerTest, AHandlerThatThrowsCostsOneJob) {
  handler.throw_in("bad");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("bad", 1));
  EXPECT_THAT(next_result().result().failure().message(), HasSubstr("thrown"));
  lease(measuring("good", 2));
  EXPECT_TRUE(next_result().result().has_measurement());
}

TEST_F(WorkerTest, AnOutputThatIsNotWhatItIsNamedIsRefused) {
  handler.will_write("job", "honest", sha256_hex("something else"));
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 1));
  EXPECT_THAT(next_result().result().failure().message(), HasSubstr("does not have the hash"));
}

TEST_F(WorkerTest, AnArtifactDeletedBeforeItWasSentIsAFailureThatCanBeRetried) {
  start_worker();
  accept_worker();
  welcome();
  const std::string output = handler.will_write("job", "bytes");
  lease(measuring("job", 1));
  next(ToController::kArtifactOffer);
  std::filesystem::remove(ArtifactStore(state_folder() / "artifacts").path_of(output));
  want(output, 0);
  const ResultReport report = next_result();
  EXPECT_TRUE(report.result().failure().retryable());
  EXPECT_THAT(report.result().failure().message(), HasSubstr(output));
}

TEST_F(WorkerTest, AnotherProtocolVersionEndsTheWorkerForGood) {
  start_worker();
  accept_worker();
  refuse("this controller speaks version 2 of the protocol", true);
  const auto ended = wait_for_worker();
  ASSERT_FALSE(ended);
  EXPECT_THAT(ended.error().message, HasSubstr("version 2"));
}

TEST_F(WorkerTest, ARefusalThatIsNotFinalIsTriedAgain) {
  start_worker();
  accept_worker();
  refuse("come back later", false);
  accept_worker();
  welcome();
  lease(measuring("job", 1));
  EXPECT_EQ(next_result().lease().job_key(), "job");
  EXPECT_TRUE(stop_worker());
  EXPECT_THAT(log_lines(), testing::Contains(HasSubstr("come back later")));
}

TEST_F(WorkerTest, AControllerOfAnotherAuthorityIsToldOnceAndTriedAgain) {
  serve_as("foreign-controller");
  start_worker();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(try_accept_worker());
  serve_as("controller");
  accept_worker();
  welcome();
  barrier();
  EXPECT_TRUE(stop_worker());
  EXPECT_EQ(
      std::ranges::count_if(
          log_lines(), [](const std::string& line) { return line.find("another authority") != std::string::npos; }),
      1);
}

TEST_F(WorkerTest, GarbageFromTheControllerIsNotTheEnd) {
  start_worker();
  accept_worker();
  ArtifactChunk garbage;  // its data stands where a Lease is expected
  garbage.set_data("\xff\xff\xff");
  send(garbage);
  accept_worker();
  welcome();
  barrier();
}

TEST_F(WorkerTest, StopEndsARunningJobAndAWorkerThatWaits) {
  handler.block("job");
  start_worker();
  accept_worker();
  welcome();
  lease(measuring("job", 1));
  wait_until_running("job");
  EXPECT_TRUE(stop_worker());
  EXPECT_TRUE(handler.was_stopped("job"));
  listener.close();
  start_worker();
  EXPECT_TRUE(stop_worker());
}

TEST_F(WorkerTest, TwoWorkersDoNotShareAFolder) {
  start_worker();
  accept_worker();
  std::stop_source stop;
  ScriptedHandler other;
  WorkerOptions options{.host = "127.0.0.1", .port = port(), .state_folder = state_folder(), .log = {}};
  stop.request_stop();  // does not wait for the other to end then
  const auto refused = run_worker(options, other, stop.get_token());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("in use by another worker"));
}

TEST(OutboxTest, SurvivesARestartAndDropsWhatACrashCutOff) {
  const TemporaryFolder folder;
  Outbox outbox(folder / "outbox");
  outbox.put(report_of("a", 1));
  outbox.put(report_of("../../b", 2));
  for (const char* key : {"a", "../../b"}) ASSERT_TRUE(Outbox::save(outbox.change_of(key)));
  std::ofstream(folder / "outbox/cut-off") << "half a messa";
  Outbox again(folder / "outbox");
  EXPECT_EQ(again.reports().size(), 2u);
  EXPECT_EQ(again.reports().at("../../b").lease().token(), 2u);
  EXPECT_FALSE(std::filesystem::exists(folder / "outbox/cut-off"));

  EXPECT_FALSE(again.remove(report_of("../../b", 1).lease())) << "of an earlier lease";
  EXPECT_TRUE(again.remove(report_of("../../b", 2).lease()));
  EXPECT_TRUE(again.renew(report_of("a", 9).lease()));
  EXPECT_FALSE(again.renew(report_of("c", 9).lease()));
  for (const char* key : {"a", "../../b"}) ASSERT_TRUE(Outbox::save(again.change_of(key)));
  const Outbox last(folder / "outbox");
  ASSERT_EQ(last.reports().size(), 1u);
  EXPECT_EQ(last.reports().at("a").lease().token(), 9u);
}

}  // namespace
}  // namespace finch::protocol
