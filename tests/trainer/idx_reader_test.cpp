#include "trainer/idx_reader.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "sample_data.hpp"
#include "temporary_folder.hpp"

namespace finch::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class IdxReaderTest : public testing::Test {
 protected:
  std::filesystem::path file(const std::string& name) const { return folder_.path() / name; }
  static std::string read_bytes(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  static std::string error_of(const std::filesystem::path& path) {
    const auto array = read_idx(path);
    if (array) return "no error";
    EXPECT_THAT(array.error().message, HasSubstr(path.string()));
    return array.error().message;
  }

  TemporaryFolder folder_;
};

TEST_F(IdxReaderTest, ReadsPlainAndCompressedFilesAlike) {
  const std::string bytes = idx_bytes({2, 3}, {1, 2, 3, 4, 5, 6});
  write_file(file("plain"), bytes);
  write_gzip(file("packed.gz"), bytes);
  for (const char* name : {"plain", "packed.gz"}) {
    const auto array = read_idx(file(name));
    ASSERT_TRUE(array) << array.error().message;
    EXPECT_THAT(array->dimensions, ElementsAre(2, 3));
    EXPECT_THAT(array->bytes, ElementsAre(1, 2, 3, 4, 5, 6));
  }
}

TEST_F(IdxReaderTest, NamesWhatIsWrong) {
  const std::string good = idx_bytes({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(error_of(file("absent")), HasSubstr("cannot be read"));

  write_file(file("text"), "hello, world");
  EXPECT_THAT(error_of(file("text")), HasSubstr("not an IDX file"));
  write_file(file("empty"), "");
  EXPECT_THAT(error_of(file("empty")), HasSubstr("not an IDX file"));
  std::string floats = good;
  floats[2] = 0x0D;
  write_file(file("floats"), floats);
  EXPECT_THAT(error_of(file("floats")), HasSubstr("unsigned bytes"));

  write_file(file("header"), good.substr(0, 9));
  EXPECT_THAT(error_of(file("header")), HasSubstr("within its header"));
  write_file(file("short"), good.substr(0, good.size() - 2));
  EXPECT_THAT(error_of(file("short")), HasSubstr("ends after 4 of the 6 bytes"));
  write_file(file("long"), good + "x");
  EXPECT_THAT(error_of(file("long")), HasSubstr("more bytes"));
  write_file(file("huge"), idx_bytes({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, {}));
  EXPECT_THAT(error_of(file("huge")), HasSubstr("impossible size"));
}

TEST_F(IdxReaderTest, NamesDamagedGzipFiles) {
  std::vector<std::uint8_t> noise;
  for (std::uint32_t i = 0, value = 1; i < 50'000; ++i) {
    noise.push_back(static_cast<std::uint8_t>((value = value * 1664525 + 1013904223) >> 24));
  }
  write_gzip(file("good.gz"), idx_bytes({50'000}, noise));
  const std::string packed = read_bytes(file("good.gz"));
  ASSERT_TRUE(read_idx(file("good.gz")));

  write_file(file("truncated.gz"), packed.substr(0, packed.size() / 2));
  EXPECT_THAT(error_of(file("truncated.gz")), HasSubstr("ends too early"));
  std::string corrupt = packed;
  for (std::size_t i = corrupt.size() / 2; i < corrupt.size() / 2 + 64; ++i)
    corrupt[i] = static_cast<char>(~corrupt[i]);
  write_file(file("corrupt.gz"), corrupt);
  EXPECT_THAT(error_of(file("corrupt.gz")), HasSubstr("damaged"));
  write_file(file("renamed.gz"), idx_bytes({1}, {1}));
  EXPECT_THAT(error_of(file("renamed.gz")), HasSubstr("not a gzip file"));
}

}  // namespace
}  // namespace finch::trainer
