#include "protocol/artifact_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <vector>

#include "protocol/artifact_references.hpp"
#include "protocol/artifact_transfer.hpp"
#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/framing.hpp"
#include "temporary_folder.hpp"

namespace finch::protocol {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string patterned(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
  return bytes;
}

// Exit status of `body` in a child process.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
  }
  return names;
}

class ArtifactStoreTest : public testing::Test {
 protected:
  TemporaryFolder folder;
  ArtifactStore store{folder / "artifacts"};
  const std::string bytes = patterned(700'001);
  const std::string hash = sha256_hex(bytes);
};

TEST(Sha256, KnownDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const TemporaryFolder folder;
  std::ofstream(folder / "file", std::ios::binary) << patterned(1'000'000);
  EXPECT_EQ(sha256_of_file(folder / "file"), sha256_hex(patterned(1'000'000)));
  const auto missing = sha256_of_file(folder / "nowhere");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("nowhere"));
  EXPECT_FALSE(sha256_of_file(folder.path()));
}

TEST(Sha256, WhatAPeerSendsIsLookedAtFirst) {
  EXPECT_TRUE(is_sha256(std::string(64, 'a')));
  EXPECT_FALSE(is_sha256(std::string(64, 'A')));
  EXPECT_FALSE(is_sha256(std::string(63, 'a')));
  EXPECT_FALSE(is_sha256("../../../../../../../../../../../../../../../../../../etc/hostname"));
}

TEST_F(ArtifactStoreTest, WhatIsAddedIsThereUnderItsHash) {
  EXPECT_FALSE(store.has(hash));
  ASSERT_EQ(store.add_bytes(bytes), hash);
  EXPECT_TRUE(store.has(hash));
  EXPECT_EQ(read_whole_file(store.path_of(hash)), bytes);
  ASSERT_EQ(store.add_bytes(bytes), hash);

  std::ofstream(folder / "model.onnx", std::ios::binary) << "model";
  const auto model = store.add_file(folder / "model.onnx");
  ASSERT_EQ(model, sha256_hex("model"));
  EXPECT_EQ(read_whole_file(store.path_of(*model)), "model");
  EXPECT_TRUE(fs::exists(folder / "model.onnx"));
  EXPECT_FALSE(store.add_file(folder / "nowhere"));
  EXPECT_EQ(files_below(folder / "artifacts").size(), 2u) << "no temporary file stays";
  EXPECT_TRUE(ArtifactStore(folder / "artifacts").has(hash));
}

TEST_F(ArtifactStoreTest, ATransferResumesAtTheByteAlsoInAnotherProcess) {
  ASSERT_TRUE(store.append(hash, 0, std::string_view(bytes).substr(0, 300'000)));
  EXPECT_EQ(store.partial_bytes(hash), 300'000);
  EXPECT_FALSE(store.has(hash));
  ArtifactStore later(folder / "artifacts");
  EXPECT_EQ(later.partial_bytes(hash), 300'000);
  ASSERT_TRUE(later.append(hash, 300'000, std::string_view(bytes).substr(300'000)));
  ASSERT_TRUE(later.commit(hash));
  EXPECT_EQ(read_whole_file(store.path_of(hash)), bytes);
  EXPECT_EQ(store.partial_bytes(hash), 0);
  EXPECT_TRUE(store.commit(hash)) << "again does no harm";
}

TEST_F(ArtifactStoreTest, AppendingElsewhereThanAtTheEndIsRefused) {
  EXPECT_FALSE(store.append(hash, 1, "x"));
  ASSERT_TRUE(store.append(hash, 0, "0123"));
  for (const std::int64_t offset : {0, 3, 5, -1}) EXPECT_FALSE(store.append(hash, offset, "x")) << offset;
  EXPECT_EQ(store.partial_bytes(hash), 4);
  EXPECT_FALSE(store.append("../escape", 0, "x"));
  EXPECT_FALSE(store.commit("../escape"));
  EXPECT_FALSE(fs::exists(folder / "escape"));
}

TEST_F(ArtifactStoreTest, WrongBytesAreThrownAway) {
  ASSERT_TRUE(store.append(hash, 0, "something else"));
  const auto refused = store.commit(hash);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr(hash.substr(0, 12)));
  EXPECT_FALSE(store.has(hash));
  EXPECT_EQ(store.partial_bytes(hash), 0);
}

TEST_F(ArtifactStoreTest, AnEmptyArtifact) {
  const std::string empty = sha256_hex("");
  ASSERT_TRUE(store.commit(empty));
  EXPECT_TRUE(store.has(empty));
  EXPECT_FALSE(store.commit(hash)) << "nothing came, but it is not empty";
}

TEST_F(ArtifactStoreTest, ProcessesThatAddAndFetchTheSameAtOnceDoNotDisturbEachOther) {
  std::vector<pid_t> children;
  for (int process = 0; process < 6; ++process) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ArtifactStore mine(folder / "artifacts");
      bool good = true;
      for (int round = 0; round < 10; ++round) {
        const std::string content = patterned(100'000 + static_cast<std::size_t>(round));
        const std::string name = sha256_hex(content);
        if (process % 2 == 0) {
          good = good && mine.add_bytes(content) == name;
        } else {
          while (!mine.has(name)) {
            ArtifactChunk chunk;
            chunk.set_sha256(name);
            chunk.set_offset(mine.partial_bytes(name));
            chunk.set_total_bytes(static_cast<std::int64_t>(content.size()));
            chunk.set_data(content.substr(static_cast<std::size_t>(chunk.offset()), 7'000));
            if (chunk.data().empty() && chunk.offset() != chunk.total_bytes()) continue;
            (void)take_chunk(mine, chunk);  // may come too late
          }
        }
        good = good && read_whole_file(mine.path_of(name)).value_or("") == content;
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  for (int round = 0; round < 10; ++round) {
    EXPECT_TRUE(store.has(sha256_hex(patterned(100'000 + static_cast<std::size_t>(round)))));
  }
  EXPECT_EQ(files_below(folder / "artifacts").size(), 10u);
}

TEST_F(ArtifactStoreTest, AFullDiskIsNamedAndTheTransferCanGoOn) {
  ASSERT_TRUE(store.append(hash, 0, std::string_view(bytes).substr(0, 1000)));
  // A limit on the size of files stands in for the full disk: the write is cut off at the same place.
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{2000, 2000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto refused = store.append(hash, 1000, std::string_view(bytes).substr(1000));
    if (refused || refused.error().message.find("no space for 699001 more bytes") == std::string::npos) return 1;
    if (refused.error().message.find((folder / "artifacts").string()) == std::string::npos) return 2;
    if (store.partial_bytes(hash) != 1000) return 3;
    if (const auto added = store.add_bytes(bytes); added) return 4;
    std::ofstream(folder / "small") << "";
    return 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(files_below(folder / "artifacts").size(), 1u);
  ASSERT_TRUE(store.append(hash, 1000, std::string_view(bytes).substr(1000)));
  EXPECT_TRUE(store.commit(hash));
}

TEST_F(ArtifactStoreTest, AFolderThatCannotBeMadeIsNamedAtTheFirstWrite) {
  std::ofstream(folder / "file") << "";
  ArtifactStore blocked(folder / "file/store");
  EXPECT_FALSE(blocked.has(hash));
  for (const auto& refused : {blocked.add_bytes("x"), blocked.append(hash, 0, "x").transform([] { return std::string(); })}) {
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr((folder / "file").string()));
  }
}

TEST_F(ArtifactStoreTest, WhatAKilledProcessLeftIsRemovedAfterADay) {
  const fs::path old = folder / "artifacts/partial/tmp.old", fresh = folder / "artifacts/partial/tmp.new";
  std::ofstream(old) << "x";
  std::ofstream(fresh) << "x";
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(25));
  const ArtifactStore again(folder / "artifacts");
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(fresh));
}

TEST_F(ArtifactStoreTest, ChunksCarryAnArtifactFromStoreToStore) {
  ASSERT_TRUE(store.add_bytes(bytes));
  ArtifactStore other(folder / "other");
  ArtifactWanted wanted;
  wanted.set_sha256(hash);
  int chunks = 0;
  for (ChunkOutcome outcome = ChunkOutcome::more; outcome == ChunkOutcome::more; ++chunks) {
    wanted.set_offset(other.partial_bytes(hash));
    const auto chunk = read_chunk(store, wanted);
    ASSERT_TRUE(chunk);
    EXPECT_LE(chunk->data().size(), kChunkBytes);
    const auto taken = take_chunk(other, *chunk);
    ASSERT_TRUE(taken) << taken.error().message;
    outcome = *taken;
    EXPECT_EQ(take_chunk(other, *chunk), outcome) << "the same chunk again";
  }
  EXPECT_EQ(chunks, 3);
  EXPECT_EQ(read_whole_file(other.path_of(hash)), bytes);

  wanted.set_offset(static_cast<std::int64_t>(bytes.size()) + 1);
  EXPECT_FALSE(read_chunk(store, wanted));
  wanted.set_offset(-1);
  EXPECT_FALSE(read_chunk(store, wanted));
  wanted.set_sha256(sha256_hex("unknown"));
  EXPECT_FALSE(read_chunk(store, wanted));
}

TEST_F(ArtifactStoreTest, ATransferKilledBeforeItsCommitIsFinishedByAnEmptyChunk) {
  ASSERT_TRUE(store.add_bytes(bytes));
  ArtifactStore other(folder / "other");
  ASSERT_TRUE(other.append(hash, 0, bytes));
  ArtifactWanted wanted;
  wanted.set_sha256(hash);
  wanted.set_offset(other.partial_bytes(hash));
  EXPECT_EQ(take_chunk(other, read_chunk(store, wanted).value()), ChunkOutcome::complete);
  EXPECT_TRUE(other.has(hash));
}

TEST_F(ArtifactStoreTest, AChunkBeyondTheEndOrWithoutProgressIsAnError) {
  ArtifactChunk chunk;
  chunk.set_sha256(hash);
  chunk.set_total_bytes(100);
  EXPECT_FALSE(take_chunk(store, chunk)) << "nothing in it: asking again would never end";
  chunk.set_offset(50);
  chunk.set_data("x");
  EXPECT_FALSE(take_chunk(store, chunk));
  chunk.set_sha256("../x");
  EXPECT_FALSE(take_chunk(store, chunk));
}

TEST(ArtifactReferences, AllOfAMessageAreFoundOnce) {
  Lease lease;
  auto& job = *lease.mutable_job()->mutable_train_candidate();
  job.mutable_soft_targets()->set_sha256("a");
  job.mutable_soft_targets()->set_size_bytes(7);
  job.mutable_parent_checkpoint()->set_sha256("b");
  std::vector<std::string> found;
  for (const auto& artifact : artifacts_named_by(lease)) found.push_back(artifact.sha256);
  EXPECT_THAT(found, testing::UnorderedElementsAre("a", "b"));

  JobResult result;
  for (const char* hash : {"c", "d", "c"}) {
    result.mutable_trained_candidate()->add_files()->mutable_artifact()->set_sha256(hash);
  }
  result.mutable_trained_candidate()->mutable_checkpoint();
  EXPECT_EQ(artifacts_named_by(result).size(), 2u);
}

}  // namespace
}  // namespace finch::protocol
