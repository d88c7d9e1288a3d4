#include <cstdlib>
#include <format>
#include <system_error>

#include "agent/onnxruntime_backend.hpp"

namespace finch::agent {
namespace fs = std::filesystem;

std::optional<std::string> refuse_library(const fs::path& library, std::string_view machine, unsigned long hwcap) {
  constexpr unsigned long kHalfPrecisionArithmetic = 1UL << 10U;  // HWCAP_ASIMDHP
  if (machine != "aarch64" || (hwcap & kHalfPrecisionArithmetic) != 0) return std::nullopt;
  // Only the distribution's builds are known to be at fault; the official ones ask the processor.
  std::error_code error;
  const fs::path file = fs::weakly_canonical(library, error);
  const std::string name = file.filename().string();
  constexpr std::string_view kName = "libonnxruntime.so";
  if (!file.string().starts_with("/usr/lib/aarch64-linux-gnu/") || !name.starts_with(std::string(kName) + ".1.")) {
    return std::nullopt;
  }
  const int minor = std::atoi(name.c_str() + kName.size() + 3);
  if (minor >= 22) return std::nullopt;
  return std::format(
      "{} crashes on this processor: it uses FP16 arithmetic that the cores lack (a Raspberry Pi 4, for one); give "
      "another build with --onnxruntime PATH, such as the one that scripts/install-runtime onnxruntime fetches",
      file.string());
}

}  // namespace finch::agent
