#include "controller/farm/farm.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <format>
#include <fstream>
#include <iterator>

#include "controller/farm/farm_store.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/identity.hpp"
#include "protocol/tls_connection.hpp"
#include "tests/controller/farm/scripted_worker.hpp"
#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Polled by the clock only where nothing could notify; ctest's timeout is the deadline.
template <typename Condition>
void wait_until(Condition&& condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

protocol::JobResult success(const protocol::Job& = {}) {
  protocol::JobResult result;
  result.mutable_data_facts()->set_channels(1);
  return result;
}
protocol::JobResult failure(const std::string& why, bool retryable = false) {
  protocol::JobResult result;
  result.mutable_failure()->set_message(why);
  result.mutable_failure()->set_retryable(retryable);
  return result;
}

class FarmTest : public testing::Test {
 protected:
  FarmTest() {
    for (const auto& part : {home_.artifacts(), home_.workers(), home_.logs()}) {
      std::filesystem::create_directories(part);
    }
  }

  std::expected<std::unique_ptr<Farm>, Error> try_start(std::uint16_t port = 0) {
    return Farm::start(home_, {.port = port, .local_workers = false, .log = [this](const std::string& line) {
                                 const std::scoped_lock lock(log_mutex_);
                                 log_.push_back(line);
                               }});
  }
  std::unique_ptr<Farm> start(std::uint16_t port = 0) {
    auto farm = try_start(port);
    if (!farm) throw std::runtime_error(farm.error().message);
    return std::move(*farm);
  }
  std::vector<std::string> log_lines(const std::string& text) {
    const std::scoped_lock lock(log_mutex_);
    std::vector<std::string> found;
    std::ranges::copy_if(log_, std::back_inserter(found),
                         [&](const std::string& line) { return line.find(text) != std::string::npos; });
    return found;
  }

  protocol::Authority authority() { return protocol::Authority::load_or_create(home_.authority()).value(); }
  // The state folder of a device that has joined.
  std::filesystem::path joined(const std::string& name) {
    if (!store_.admitted().value().contains(name)) {
      const auto token = store_.invite(name, "board").value();
      EXPECT_TRUE(store_.redeem(token).value().has_value());
    }
    const auto folder = folder_.path() / name;
    EXPECT_TRUE(authority().write_identity(name, folder));
    return folder;
  }

  void submit(const std::string& key, const protocol::Job& job, const std::string& target = "") {
    ASSERT_TRUE(store_.submit({key, "campaign", target, 0, job.SerializeAsString()}));
  }
  void submit_training(const std::string& key) {
    protocol::Job job;
    job.mutable_inspect_data();
    submit(key, job);
  }
  JobStatus status(const std::string& key) { return store_.find(key).value().value(); }
  JobStatus finished(const std::string& key) {
    wait_until([&] { return status(key).state != JobState::queued && status(key).state != JobState::leased; });
    return status(key);
  }
  bool connected(const std::string& name) {
    const auto devices = store_.devices().value();
    const auto device = std::ranges::find(devices, name, &DeviceRecord::name);
    return device != devices.end() && device->connected;
  }

  // What the controller answers to one message of a client with this TLS context.
  protocol::ToWorker answer_to(std::uint16_t port, std::shared_ptr<boost::asio::ssl::context> context,
                               const protocol::ToController& message) {
    boost::asio::io_context io{1};
    protocol::ToWorker answer;
    const auto talk = [&]() -> boost::asio::awaitable<void> {
      const auto connection = co_await protocol::Connection::connect("127.0.0.1", port, context);
      if (!connection) throw std::runtime_error(connection.error().message);
      (*connection)->send(message);
      co_await (*connection)->read_frames([&](std::string_view frame) {
        protocol::ToWorker received;
        received.ParseFromArray(frame.data(), static_cast<int>(frame.size()));
        if (received.has_heartbeat()) return;
        answer = received;
        (*connection)->close();
      });
    };
    boost::asio::co_spawn(io, talk, [](std::exception_ptr failed) {
      if (failed) std::rethrow_exception(failed);
    });
    io.run();
    return answer;
  }

  TemporaryFolder folder_;
  Home home_{folder_.path() / "home"};
  // Made before `store_`, which lies in it.
  const bool made_ = std::filesystem::create_directories(home_.root);
  FarmStore store_ = FarmStore::open(home_.farm_db()).value();
  std::mutex log_mutex_;
  std::vector<std::string> log_;
};

TEST_F(FarmTest, ADeviceJoinsByItsInvitationAndWorks) {
  const auto farm = start();
  const auto token = store_.invite("pi", "raspberry-pi-4").value();
  const protocol::Invitation invitation{"127.0.0.1", farm->port(), token, authority().fingerprint()};
  const auto state = folder_.path() / "pi";
  const auto device = protocol::join(invitation, state);
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ(device->name, "pi");
  EXPECT_EQ(device->profile, "raspberry-pi-4");

  ScriptedWorker worker(protocol::AGENT, "board", farm->port(), state,
                        [](const auto& job, auto&) { return success(job); });
  protocol::Job job;
  job.mutable_measure()->set_device("pi");
  submit("m", job, "pi");
  EXPECT_EQ(finished("m").state, JobState::done);
  EXPECT_EQ(status("m").worker, "pi");
  EXPECT_TRUE(connected("pi"));

  const auto again = protocol::join(invitation, folder_.path() / "thief");
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("finch devices invite"));
}

TEST_F(FarmTest, MeasuresOnlyWhileTheTrainerOfThatHostStandsStill) {
  const auto farm = start();
  protocol::ArtifactStore artifacts(home_.artifacts());
  const std::string model(3'000'000, 'm');
  const auto sha256 = artifacts.add_bytes(model).value();

  ScriptedWorker* running = nullptr;
  ScriptedWorker trainer(protocol::TRAINER, "pc", farm->port(), joined("trainer"), [&](const auto&, auto& context) {
    return running->wait_for_release(context.stop_token()) ? success() : failure("stopped");
  });
  running = &trainer;
  submit_training("train");
  wait_until([&] { return trainer.jobs_begun() == 1; });

  std::atomic<int> disturbed = 0;
  ScriptedWorker agent(protocol::AGENT, "pc", farm->port(), joined("pi"), [&](const auto& job, auto& context) {
    if (!trainer.paused()) ++disturbed;
    std::ifstream file(context.artifacts().at(job.measure().model().sha256()), std::ios::binary);
    const std::string got{std::istreambuf_iterator<char>(file), {}};
    const std::string raw = got == model ? std::string(2'000'000, 'r') : "wrong model";
    protocol::JobResult result;
    result.mutable_measurement()->mutable_raw()->set_sha256(protocol::sha256_hex(std::string_view(raw)));
    result.mutable_measurement()->mutable_raw()->set_size_bytes(static_cast<std::int64_t>(raw.size()));
    std::ofstream(context.output_folder() / result.measurement().raw().sha256(), std::ios::binary) << raw;
    if (!trainer.paused()) ++disturbed;
    return result;
  });
  for (const std::string key : {"m1", "m2", "m3"}) {
    protocol::Job job;
    job.mutable_measure()->set_device("pi");
    job.mutable_measure()->set_tier(key);
    job.mutable_measure()->mutable_model()->set_sha256(sha256);
    submit(key, job, "pi");
  }
  for (const std::string key : {"m1", "m2", "m3"}) {
    const auto done = finished(key);
    ASSERT_EQ(done.state, JobState::done);
    protocol::JobResult result;
    ASSERT_TRUE(result.ParseFromString(done.result));
    EXPECT_EQ(protocol::sha256_of_file(artifacts.path_of(result.measurement().raw().sha256())).value(),
              protocol::sha256_hex(std::string(2'000'000, 'r')));
  }
  EXPECT_EQ(disturbed, 0);
  EXPECT_EQ(status("train").state, JobState::leased);
  wait_until([&] { return !trainer.paused(); });
  trainer.release();
  EXPECT_EQ(finished("train").state, JobState::done);
  EXPECT_EQ(trainer.jobs_begun(), 1);
}

TEST_F(FarmTest, AKilledWorkersJobIsDoneAgain) {
  // Forked before this process has threads; told the port later.
  const auto state = joined("trainer");
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::uint16_t port = 0;
    if (::read(pipe[0], &port, sizeof port) != sizeof port) ::_exit(1);
    ScriptedWorker worker(protocol::TRAINER, "pc", port, state, [](const auto&, auto&) {
      ::pause();
      return success();
    });
    worker.wait_for_end();
    ::_exit(1);
  }
  const auto farm = start();
  const std::uint16_t port = farm->port();
  ASSERT_EQ(::write(pipe[1], &port, sizeof port), static_cast<ssize_t>(sizeof port));
  submit_training("a");
  wait_until([&] { return status("a").state == JobState::leased; });
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);

  ScriptedWorker worker(protocol::TRAINER, "pc", port, state, [](const auto& job, auto&) { return success(job); });
  EXPECT_EQ(finished("a").state, JobState::done);
  EXPECT_EQ(status("a").attempts, 2);
}

TEST_F(FarmTest, AResultSurvivesARestartOfTheServer) {
  auto farm = start();
  const auto port = farm->port();
  ScriptedWorker* running = nullptr;
  ScriptedWorker trainer(protocol::TRAINER, "pc", port, joined("trainer"), [&](const auto&, auto& context) {
    return running->wait_for_release(context.stop_token()) ? success() : failure("stopped");
  });
  running = &trainer;
  submit_training("a");
  wait_until([&] { return trainer.jobs_begun() == 1; });
  farm.reset();
  EXPECT_EQ(status("a").state, JobState::leased);
  trainer.release();
  farm = start(port);
  EXPECT_EQ(finished("a").state, JobState::done);
  EXPECT_EQ(status("a").attempts, 1);
  EXPECT_EQ(trainer.jobs_begun(), 1);
}

TEST_F(FarmTest, ACancelledJobMakesRoomForTheNext) {
  const auto farm = start();
  ScriptedWorker* running = nullptr;
  ScriptedWorker trainer(protocol::TRAINER, "pc", farm->port(), joined("trainer"), [&](const auto& job, auto& context) {
    if (job.has_time_training()) return success();
    running->wait_for_release(context.stop_token());
    return failure("stopped");
  });
  running = &trainer;
  submit_training("a");
  wait_until([&] { return trainer.jobs_begun() == 1; });
  ASSERT_TRUE(store_.withdraw("campaign"));
  protocol::Job next;
  next.mutable_time_training();
  submit("b", next);
  EXPECT_EQ(finished("b").state, JobState::done);
  EXPECT_EQ(status("a").state, JobState::cancelled);
}

TEST_F(FarmTest, ForeignCertificatesAreRefusedWithOneLine) {
  const auto farm = start();
  const auto foreign = protocol::Authority::load_or_create(folder_.path() / "foreign").value();
  const auto never = [](const auto&, auto&) { return failure("must not run"); };
  std::vector<std::unique_ptr<ScriptedWorker>> workers;
  for (const std::string name : {"one", "two", "three"}) {
    // A certificate of another authority, but it trusts ours, so that the controller is who objects.
    const auto state = folder_.path() / name;
    ASSERT_TRUE(foreign.write_identity(name, state));
    std::ofstream(state / "authority.pem") << authority().certificate_pem();
    workers.push_back(std::make_unique<ScriptedWorker>(protocol::AGENT, "board", farm->port(), state, never));
  }
  for (const auto& worker : workers) EXPECT_THAT(worker->wait_for_log("trying again"), HasSubstr("certificate"));
  const auto lines = log_lines("refused a connection from 127.0.0.1");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], HasSubstr("authority"));
}

TEST_F(FarmTest, ADeviceThatIsRemovedIsTurnedAway) {
  const auto farm = start();
  const auto state = joined("pi");
  const auto never = [](const auto&, auto&) { return success(); };
  {
    ScriptedWorker worker(protocol::AGENT, "board", farm->port(), state, never);
    worker.wait_for_log("connected");
    ASSERT_TRUE(store_.forget_device("pi"));
    EXPECT_THAT(worker.wait_for_end(), HasSubstr("removed"));
  }
  ScriptedWorker again(protocol::AGENT, "board", farm->port(), state, never);
  EXPECT_THAT(again.wait_for_end(), HasSubstr("finch devices invite pi"));
}

TEST_F(FarmTest, ASecondWorkerOfTheSameNameWaits) {
  const auto farm = start();
  const auto state = joined("pi");
  const auto copy = folder_.path() / "copy";
  std::filesystem::copy(state, copy);
  const auto done = [](const auto&, auto&) { return success(); };
  auto first = std::make_unique<ScriptedWorker>(protocol::AGENT, "board", farm->port(), state, done);
  first->wait_for_log("connected");
  ScriptedWorker second(protocol::AGENT, "board", farm->port(), copy, done);
  EXPECT_THAT(second.wait_for_log("refused"), HasSubstr("connected already"));
  first.reset();
  second.wait_for_log(": connected");
}

TEST_F(FarmTest, TellsStrangersWhatIsWrong) {
  const auto farm = start();
  protocol::ToController hello;
  hello.mutable_hello()->set_protocol_version(protocol::kProtocolVersion + 1);
  hello.mutable_hello()->set_role(protocol::AGENT);
  hello.mutable_hello()->set_software_version("9.8.7");
  const auto newer = answer_to(farm->port(), protocol::client_context(joined("pi")).value(), hello);
  EXPECT_TRUE(newer.refused().final());
  EXPECT_THAT(newer.refused().reason(),
              AllOf(HasSubstr(std::format("agent (Finch 9.8.7) speaks version {}", protocol::kProtocolVersion + 1)),
                    HasSubstr("controller (Finch 0"), HasSubstr("update the controller to the agent's")));
  hello.mutable_hello()->set_protocol_version(protocol::kProtocolVersion - 1);
  hello.mutable_hello()->set_role(protocol::TRAINER);
  const auto older = answer_to(farm->port(), protocol::client_context(joined("pi")).value(), hello);
  EXPECT_TRUE(older.refused().final());
  EXPECT_THAT(older.refused().reason(), HasSubstr("update the trainer to the controller's"));

  hello.mutable_hello()->set_role(protocol::AGENT);
  hello.mutable_hello()->set_protocol_version(protocol::kProtocolVersion);
  const auto stranger = answer_to(farm->port(), protocol::pinned_context(authority().fingerprint()).value(), hello);
  EXPECT_TRUE(stranger.refused().final());
  EXPECT_THAT(stranger.refused().reason(), HasSubstr("may only join"));
}

TEST_F(FarmTest, AnOccupiedPortIsNamed) {
  boost::asio::io_context io;
  const boost::asio::ip::tcp::acceptor other(io, {boost::asio::ip::address_v4::loopback(), 0});
  const auto port = other.local_endpoint().port();
  const auto farm = try_start(port);
  ASSERT_FALSE(farm);
  EXPECT_EQ(farm.error().exit_code, ExitCode::failed);
  EXPECT_THAT(farm.error().message, AllOf(HasSubstr(std::to_string(port)), HasSubstr("--port")));
  EXPECT_FALSE(running_farm(home_)) << "a farm that did not start must not be found";
  EXPECT_TRUE(try_start()) << "the home must be free again";
}

TEST_F(FarmTest, AHomeHasOneServer) {
  EXPECT_FALSE(running_farm(home_));
  auto farm = start();
  EXPECT_EQ(running_farm(home_).value(), farm->port());
  const auto second = try_start();
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message,
              AllOf(HasSubstr(home_.root.string()), HasSubstr("is served already"),
                    HasSubstr(std::to_string(::getpid())), HasSubstr(std::to_string(farm->port()))));
  EXPECT_EQ(running_farm(home_).value(), farm->port());
  farm.reset();
  const auto none = running_farm(home_);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("finch serve"));
}

TEST_F(FarmTest, AServerThatWasKilledIsNotFound) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto farm = try_start();
    if (farm) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::exists(home_.serve_file()));
  EXPECT_FALSE(running_farm(home_));
  const auto farm = start();
  EXPECT_EQ(running_farm(home_).value(), farm->port());
}

}  // namespace
}  // namespace finch::controller
