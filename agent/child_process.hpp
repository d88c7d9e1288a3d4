// Owners of what a child process is held by: descriptors, pipes, the process itself. One thread at a time for each.
#pragma once

#include <sys/types.h>

#include <expected>

#include "agent/error.hpp"

namespace finch::agent {

class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }
  int get() const { return value_; }
  void reset();

 private:
  int value_;
};

struct Pipe {
  Descriptor read, write;
};

// Both ends are closed on exec.
std::expected<Pipe, Error> make_pipe();

// What a child does first, between fork and exec or in their place: leads a group of its own (Ctrl-C is for the agent),
// ends with `parent`, the process that forked it, and takes all signals. Only calls that are safe there.
void begin_child(pid_t parent);
// When memory runs out, the kernel ends the calling process first, where that is permitted. Safe there too.
void be_the_first_to_go();

// A process that leads a process group of its own; the group is killed and the process reaped when this goes.
class ChildProcess {
 public:
  explicit ChildProcess(pid_t pid);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();
  // Blocks until it ends; its status as waitpid gives it. REQUIRES: not called before.
  int wait();

 private:
  pid_t pid_;
};

}  // namespace finch::agent
