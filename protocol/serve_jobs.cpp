// The child's side of a job process.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <span>

#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/framing.hpp"
#include "protocol/job_process.hpp"

namespace finch::protocol {
namespace {

constexpr int kEventsDescriptor = 3;

// How much came before the end.
std::size_t read_fully(int fd, std::span<char> bytes) {
  std::size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t count = ::read(fd, bytes.data() + got, bytes.size() - got);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    got += static_cast<std::size_t>(count);
  }
  return got;
}

int broken(const char* why) {
  std::fprintf(stderr, "the request cannot be read: %s\n", why);
  return 1;
}

}  // namespace

int serve_jobs(
    const std::function<void(const ChildRequest&, const std::function<void(const ChildEvent&)>& emit)>& serve) {
  ::fcntl(kEventsDescriptor, F_SETFD, FD_CLOEXEC);  // not for programs that a job starts
  std::signal(SIGPIPE, SIG_IGN);                    // the worker is gone: the next read tells
  std::mutex emitting;
  const auto emit = [&emitting](const ChildEvent& event) {
    const auto frame = encode_frame(event);
    const std::scoped_lock lock(emitting);
    if (frame) {
      write_fully(kEventsDescriptor, *frame);
      return;
    }
    ChildEvent instead;  // the worker must not wait for an event that cannot be sent
    instead.mutable_result()->mutable_failure()->set_message(frame.error().message);
    if (const auto small = encode_frame(instead)) write_fully(kEventsDescriptor, *small);
  };
  for (;;) {
    std::array<char, kFrameHeaderBytes> header;
    const std::size_t got = read_fully(STDIN_FILENO, header);
    if (got == 0) return 0;
    if (got < header.size()) return broken("it is cut off");
    const auto size = decode_frame_header(std::as_bytes(std::span(header)));
    if (!size) return broken(size.error().message.c_str());
    std::string body(*size, '\0');
    if (read_fully(STDIN_FILENO, body) < body.size()) return broken("it is cut off");
    ChildRequest request;
    if (const auto decoded = decode_frame_body(body, request); !decoded) return broken(decoded.error().message.c_str());
    serve(request, emit);
  }
}

}  // namespace finch::protocol
