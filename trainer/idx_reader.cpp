#include "trainer/idx_reader.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <memory>

namespace finch::trainer {
namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 36;
constexpr std::size_t kChunk = std::size_t{1} << 20;

struct CloseGzip {
  void operator()(gzFile file) const { gzclose(file); }
};
using GzipFile = std::unique_ptr<std::remove_pointer_t<gzFile>, CloseGzip>;

class Reader {
 public:
  Reader(gzFile file, const std::filesystem::path& path) : file_(file), path_(path) {}

  std::unexpected<Error> fail(const std::string& what) const { return std::unexpected(Error{path_.string() + what}); }

  // Fewer bytes than `size` only at the end of the file.
  std::expected<std::size_t, Error> read(std::uint8_t* out, std::size_t size) {
    const int got = gzread(file_, out, static_cast<unsigned>(size));
    int code = Z_OK;
    const char* reason = gzerror(file_, &code);
    if (code == Z_BUF_ERROR) return fail(": the gzip file ends too early; it is incomplete, fetch it again");
    if (got < 0 || code != Z_OK) {
      return fail(std::format(": the gzip file is damaged ({}); fetch it again",
                              code == Z_ERRNO ? std::strerror(errno) : reason));
    }
    return static_cast<std::size_t>(got);
  }

 private:
  gzFile file_;
  const std::filesystem::path& path_;
};

std::uint32_t big_endian(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 | bytes[3];
}

}  // namespace

std::expected<IdxArray, Error> read_idx(const std::filesystem::path& path) {
  const GzipFile file(gzopen(path.c_str(), "rb"));
  Reader reader(file.get(), path);
  if (!file) return reader.fail(std::format(": cannot be read ({})", std::strerror(errno)));

  std::uint8_t header[4];
  auto got = reader.read(header, sizeof header);
  if (!got) return std::unexpected(got.error());
  if (path.extension() == ".gz" && gzdirect(file.get()) == 1) {
    return reader.fail(": not a gzip file, although its name ends with .gz");
  }
  if (*got < sizeof header || header[0] != 0 || header[1] != 0 || header[2] != kUnsignedByte || header[3] < 1 ||
      header[3] > 4) {
    return reader.fail(": not an IDX file of unsigned bytes (wrong magic number at its start)");
  }
  IdxArray array;
  std::int64_t expected = 1;
  for (int i = 0; i < header[3]; ++i) {
    std::uint8_t bytes[4];
    got = reader.read(bytes, sizeof bytes);
    if (!got) return std::unexpected(got.error());
    if (*got < sizeof bytes) return reader.fail(": ends within its header; it is incomplete, fetch it again");
    array.dimensions.push_back(big_endian(bytes));
    if (array.dimensions.back() > 0 && expected > kMostBytes / array.dimensions.back()) {
      return reader.fail(": claims an impossible size in its header; it is damaged, fetch it again");
    }
    expected *= array.dimensions.back();
  }
  // In chunks: a damaged header must not reserve memory that the file does not fill.
  while (std::ssize(array.bytes) < expected) {
    const std::size_t have = array.bytes.size();
    const std::size_t want = std::min(kChunk, static_cast<std::size_t>(expected) - have);
    array.bytes.resize(have + want);
    got = reader.read(array.bytes.data() + have, want);
    if (!got) return std::unexpected(got.error());
    if (*got < want) {
      return reader.fail(
          std::format(": ends after {} of the {} bytes that its header states; it is incomplete, "
                      "fetch it again",
                      have + *got, expected));
    }
  }
  std::uint8_t more = 0;
  got = reader.read(&more, 1);
  if (!got) return std::unexpected(got.error());
  if (*got != 0) return reader.fail(": holds more bytes than its header states; it is damaged, fetch it again");
  return array;
}

}  // namespace finch::trainer
