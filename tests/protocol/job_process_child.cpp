// The child of job_process_test: does what the request's output_folder says.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "protocol/farm.pb.h"
#include "protocol/job_process.hpp"

namespace {

using finch::protocol::ChildEvent;
using finch::protocol::ChildRequest;
using Emit = std::function<void(const ChildEvent&)>;

void answer(const Emit& emit, const std::string& text) {
  ChildEvent event;
  event.mutable_result()->mutable_failure()->set_message(text);
  emit(event);
}

void serve(const ChildRequest& request, const Emit& emit) {
  const std::string_view wish = request.output_folder();
  if (wish == "echo") return answer(emit, request.job().measure().device());
  if (wish == "pid") return answer(emit, std::to_string(::getpid()));
  if (wish.starts_with("getenv ")) {
    const char* value = std::getenv(std::string(wish.substr(7)).c_str());
    return answer(emit, value == nullptr ? "(none)" : value);
  }
  if (wish == "descriptors") {
    std::string open;
    for (int fd = 0; fd < 256; ++fd) {
      if (::fcntl(fd, F_GETFD) >= 0) open += std::to_string(fd) + " ";
    }
    return answer(emit, open);
  }
  if (wish == "progress") {
    for (int i = 1; i <= 3; ++i) {
      ChildEvent event;
      event.mutable_progress()->set_fraction(i / 4.0);
      emit(event);
    }
    return answer(emit, "done");
  }
  if (wish == "log") {
    std::puts("to stdout");
    std::fflush(stdout);
    std::fputs("to stderr\n", stderr);
    return answer(emit, "logged");
  }
  if (wish == "garbage") {
    [[maybe_unused]] const auto written = ::write(3, "\x00\x00\x00\x04\xff\xff\xff\xff", 8);
    for (;;) ::pause();
  }
  if (wish == "exit 3") std::_Exit(3);
  if (wish == "abort") {
    std::signal(SIGABRT, SIG_DFL);
    ::raise(SIGABRT);
  }
  if (wish == "killed") ::raise(SIGKILL);
  if (wish == "close events") {
    ::close(3);
    for (;;) ::pause();
  }
  if (wish == "spin" || wish == "hang") {
    ChildEvent event;
    event.mutable_progress()->set_message(std::to_string(::getpid()));
    emit(event);
    std::atomic<bool> for_ever = true;
    std::jthread second;
    if (wish == "spin")
      second = std::jthread([&for_ever] {
        while (for_ever) {
        }
      });
    while (for_ever) {
      if (wish == "hang") ::pause();
    }
  }
  answer(emit, "what is that: " + std::string(wish));
}

// A worker that starts a child, tells both process ids, and dies without a word.
int die_with_child(const char* self) {
  auto child = finch::protocol::JobProcess::start({self});
  if (!child) return 1;
  ChildRequest request;
  request.set_output_folder("hang");
  (void)child->run(request,
                   [](const ChildEvent& event) {
                     std::printf("%s\n", event.progress().message().c_str());
                     std::fflush(stdout);
                     ::kill(::getpid(), SIGKILL);
                   },
                   {});
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "die-with-child") == 0) return die_with_child(arguments[0]);
  return finch::protocol::serve_jobs(serve);
}
