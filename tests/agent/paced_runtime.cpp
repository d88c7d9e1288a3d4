// A library in ONNX Runtime's place that is the real one, but slower by a known time: a model of n bytes takes
// FINCH_PACE x (2 ms + n x 20 ns). Boards that are some percent apart, and models of different cost, on a machine that
// has other things to do.
#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

std::mutex mutex;
std::map<const OrtSession*, std::chrono::nanoseconds> time_of;
const OrtApi* real = nullptr;

void pace(const OrtSession* session, std::size_t bytes) {
  const char* given = std::getenv("FINCH_PACE");
  const double factor = given == nullptr ? 1 : std::strtod(given, nullptr);
  const double nanoseconds = factor * (2e6 + 20 * static_cast<double>(bytes));
  const std::scoped_lock lock(mutex);
  time_of[session] = std::chrono::nanoseconds(static_cast<std::int64_t>(nanoseconds));
}

OrtStatus* create(const OrtEnv* environment, const char* path, const OrtSessionOptions* options,
                  OrtSession** session) noexcept {
  OrtStatus* status = real->CreateSession(environment, path, options, session);
  if (status == nullptr) pace(*session, std::filesystem::file_size(path));
  return status;
}

OrtStatus* create_from_array(const OrtEnv* environment, const void* model, std::size_t bytes,
                             const OrtSessionOptions* options, OrtSession** session) noexcept {
  OrtStatus* status = real->CreateSessionFromArray(environment, model, bytes, options, session);
  if (status == nullptr) pace(*session, bytes);
  return status;
}

OrtStatus* run(OrtSession* session, const OrtRunOptions* options, const char* const* input_names,
               const OrtValue* const* inputs, std::size_t input_count, const char* const* output_names,
               std::size_t output_count, OrtValue** outputs) noexcept {
  const auto begin = Clock::now();
  OrtStatus* status =
      real->Run(session, options, input_names, inputs, input_count, output_names, output_count, outputs);
  std::chrono::nanoseconds time{};
  {
    const std::scoped_lock lock(mutex);
    time = time_of[session];
  }
  // A sleep ends late; the rest is waited for.
  std::this_thread::sleep_until(begin + time - std::chrono::microseconds(300));
  while (Clock::now() < begin + time) {
  }
  return status;
}

const OrtApiBase* real_base() {
  void* library = dlopen("libonnxruntime.so", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = dlopen("libonnxruntime.so.1.21", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) std::abort();
  return reinterpret_cast<const OrtApiBase* (*)()>(dlsym(library, "OrtGetApiBase"))();
}

const OrtApi* paced_api(std::uint32_t version) noexcept {
  static const OrtApi api = [version] {
    real = real_base()->GetApi(version);
    OrtApi copy = *real;
    copy.CreateSession = create;
    copy.CreateSessionFromArray = create_from_array;
    copy.Run = run;
    return copy;
  }();
  return &api;
}

const char* version() noexcept {
  return real_base()->GetVersionString();
}

}  // namespace

extern "C" const OrtApiBase* OrtGetApiBase() noexcept {
  static const OrtApiBase base{paced_api, version};
  return &base;
}
