#include "agent/shared_library.hpp"

#include <dlfcn.h>

#include <format>

namespace finch::agent {

std::expected<SharedLibrary, Error> SharedLibrary::open(const InferenceRuntime& runtime,
                                                        const std::filesystem::path& file) {
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return SharedLibrary(handle, runtime, file);
  return std::unexpected(Error{
      std::format("cannot load {}: {}; name another library with --{} PATH", runtime.title, dlerror(), runtime.name)});
}

std::expected<void, Error> SharedLibrary::find(std::span<const Symbol> symbols) const {
  for (const Symbol& symbol : symbols) {
    *symbol.function = dlsym(handle_, symbol.name);
    if (*symbol.function != nullptr) continue;
    return std::unexpected(Error{std::format("{} is not {}, or one of another age: it has no {}", file_.string(),
                                             runtime_->title, symbol.name)});
  }
  return {};
}

}  // namespace finch::agent
