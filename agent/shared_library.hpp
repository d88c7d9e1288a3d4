// A runtime's library, opened with dlopen for as long as the process lives, and the objects that its C interface hands
// out. Only for the measuring child process: a library may kill its process while it loads. One thread.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "agent/error.hpp"
#include "agent/inference_runtime.hpp"

namespace finch::agent {

class SharedLibrary {
 public:
  // Error: cannot be loaded; says why and how to name another.
  static std::expected<SharedLibrary, Error> open(const InferenceRuntime& runtime, const std::filesystem::path& file);

  struct Symbol {
    const char* name;
    void** function;  // set by find()
  };
  // Error: the first one that is not there.
  std::expected<void, Error> find(std::span<const Symbol> symbols) const;

 private:
  SharedLibrary(void* handle, const InferenceRuntime& runtime, std::filesystem::path file)
      : handle_(handle), runtime_(&runtime), file_(std::move(file)) {}
  void* handle_;  // never closed: the library's threads and static objects live as long as the process
  const InferenceRuntime* runtime_;
  std::filesystem::path file_;
};

template <typename Function>
SharedLibrary::Symbol symbol(const char* name, Function*& function) {
  return {name, reinterpret_cast<void**>(&function)};
}

// Owns one object of a C interface.
template <typename T>
struct Releaser {
  void (*release)(T*) = nullptr;
  void operator()(T* object) const {
    if (object != nullptr) release(object);
  }
};
template <typename T>
using Owned = std::unique_ptr<T, Releaser<T>>;

}  // namespace finch::agent
