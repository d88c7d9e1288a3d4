#include "agent/engine_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using testing::HasSubstr;

TEST(EngineKey, IsAnotherOneForWhateverDiffers) {
  const EngineIdentity identity{"abc", "onnxruntime", "1.22.0", "TensorRT 10.3.0", "Orin", "MAXN", "tensorrt 1"};
  std::set<std::string> keys{engine_key(identity)};
  EXPECT_EQ(engine_key(identity), *keys.begin());
  EXPECT_EQ(keys.begin()->size(), 64U);
  std::string EngineIdentity::* const parts[] = {
      &EngineIdentity::model_sha256, &EngineIdentity::runtime,   &EngineIdentity::runtime_version,
      &EngineIdentity::builder,      &EngineIdentity::processor, &EngineIdentity::power_mode,
      &EngineIdentity::deploy,
  };
  for (const auto part : parts) {
    EngineIdentity other = identity;
    other.*part += "'";
    EXPECT_TRUE(keys.insert(engine_key(other)).second) << identity.*part;
  }
  EngineIdentity moved = identity;
  moved.processor = "OrinM";
  moved.power_mode = "AXN";
  EXPECT_TRUE(keys.insert(engine_key(moved)).second) << "the same letters, but not the same parts";
}

class EngineCacheTest : public testing::Test {
 protected:
  static std::string key(const std::string& name) { return engine_key({.model_sha256 = name}); }

  // Builds an engine of so many bytes in two files.
  std::expected<EngineCache::Kept, Error> obtain(const std::string& name, std::size_t bytes = 100) {
    return cache_.obtain(key(name),
                         [&](const fs::path& folder) -> std::expected<void, Error> {
                           ++builds_;
                           EXPECT_TRUE(fs::is_empty(folder));
                           fs::create_directory(folder / "sub");
                           std::ofstream(folder / "engine") << std::string(bytes / 2, 'e');
                           std::ofstream(folder / "sub" / "profile") << std::string(bytes / 2, 'p');
                           return {};
                         },
                         {});
  }
  // As if it had been used so long ago.
  void age(const std::string& name, hours by) const {
    fs::last_write_time(root_ / key(name) / "manifest", fs::file_time_type::clock::now() - by);
  }
  std::size_t entries() const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(root_)) count += entry.is_directory() ? 1 : 0;
    return count;
  }
  TemporaryFolder folder_;
  fs::path root_ = folder_.path() / "state" / "engines";
  EngineCache cache_{root_, 2000};
  int builds_ = 0;
};

TEST_F(EngineCacheTest, BuildsOnce) {
  const auto first = obtain("a");
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->built);
  const auto second = obtain("a");
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->built);
  EXPECT_EQ(second->folder, first->folder);
  EXPECT_EQ(read_whole(second->folder / "engine"), std::string(50, 'e'));
  EXPECT_TRUE(obtain("b")->built);
  EXPECT_EQ(builds_, 2);
}

TEST_F(EngineCacheTest, WhatIsDamagedIsBuiltAnew) {
  const fs::path engine = obtain("a")->folder;
  const std::vector<std::function<void()>> damages = {
      [&] { std::ofstream(engine / "engine") << "other"; },
      [&] { fs::resize_file(engine / "sub" / "profile", 3); },
      [&] { fs::remove(engine / "sub" / "profile"); },
      [&] { std::ofstream(engine / "one more") << "file"; },
      [&] { fs::remove(engine.parent_path() / "manifest"); },
      [&] { std::ofstream(engine.parent_path() / "manifest") << "nonsense"; },
      [&] { fs::remove_all(engine); },
  };
  int expected = 1;
  for (const auto& damage : damages) {
    damage();
    ASSERT_TRUE(obtain("a"));
    EXPECT_EQ(builds_, ++expected);
    EXPECT_EQ(read_whole(engine / "engine"), std::string(50, 'e'));
    EXPECT_FALSE(obtain("a")->built);
  }
}

TEST_F(EngineCacheTest, AKilledBuildCountsForNothingAndIsClearedAway) {
  folder_.write("state/engines/building-q2Wx7a/engine/half", "an eng");
  ASSERT_TRUE(obtain("a")->built);
  EXPECT_EQ(entries(), 1U);
}

TEST_F(EngineCacheTest, AFailedBuildLeavesNothing) {
  const auto failed = cache_.obtain(key("a"),
                                    [](const fs::path& folder) -> std::expected<void, Error> {
                                      std::ofstream(folder / "half") << "an eng";
                                      return std::unexpected(Error{.message = "it crashed", .model_failed = true});
                                    },
                                    {});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "it crashed");
  EXPECT_TRUE(failed.error().model_failed);
  EXPECT_EQ(entries(), 0U);
  const auto empty = cache_.obtain(key("a"), [](const fs::path&) { return std::expected<void, Error>(); }, {});
  ASSERT_FALSE(empty);
  EXPECT_THAT(empty.error().message, HasSubstr("the runtime has written none"));
  EXPECT_EQ(entries(), 0U);
}

TEST_F(EngineCacheTest, ThoseUsedLongestAgoMakeRoom) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(obtain(name, 450));
  age("a", hours(3));
  age("b", hours(2));
  age("c", hours(1));
  ASSERT_FALSE(obtain("a")->built);  // and is the youngest now
  ASSERT_TRUE(obtain("d", 450)->built);
  EXPECT_FALSE(obtain("a")->built);
  EXPECT_FALSE(obtain("d")->built);
  EXPECT_FALSE(fs::exists(root_ / key("b")));
}

TEST_F(EngineCacheTest, OneThatIsLargerThanAllStays) {
  ASSERT_TRUE(obtain("a"));
  ASSERT_TRUE(obtain("giant", 5000));
  EXPECT_FALSE(obtain("giant", 5000)->built);
  EXPECT_FALSE(fs::exists(root_ / key("a")));
}

TEST_F(EngineCacheTest, AnotherProcessIsWaitedForUnlessStopped) {
  std::stop_source stop;
  std::expected<EngineCache::Kept, Error> waiting;
  const auto built =
      cache_.obtain(key("a"),
                    [&](const fs::path& folder) -> std::expected<void, Error> {
                      std::jthread second([&] {
                        waiting = cache_.obtain(
                            key("b"), [](const fs::path&) { return std::expected<void, Error>(); }, stop.get_token());
                      });
                      stop.request_stop();
                      second.join();
                      std::ofstream(folder / "engine") << "whole";
                      return {};
                    },
                    {});
  ASSERT_TRUE(built);
  ASSERT_FALSE(waiting);
  EXPECT_EQ(waiting.error().message, "stopped");
}

TEST_F(EngineCacheTest, AFolderThatCannotBeMadeIsNamed) {
  folder_.write("state", "a file");
  EXPECT_THAT(obtain("a").error().message, HasSubstr("cannot keep an engine in " + root_.string()));
}

}  // namespace
}  // namespace finch::agent
