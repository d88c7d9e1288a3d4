// Ctrl-C and a polite end, for the program finch-agent.
#pragma once

#include <pthread.h>

#include <csignal>
#include <stop_token>
#include <thread>

namespace finch::agent {

// SIGINT and SIGTERM become a stop request. Made before any other thread, which then leave the signals to this one.
class Interruption {
 public:
  Interruption() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGPIPE, SIG_IGN);
    waiter_ = std::thread([this, signals] {
      int signal = 0;
      sigwait(&signals, &signal);
      stop_.request_stop();
    });
  }
  ~Interruption() {
    pthread_kill(waiter_.native_handle(), SIGUSR2);
    waiter_.join();
  }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  std::stop_token token() const { return stop_.get_token(); }

 private:
  std::stop_source stop_;
  std::thread waiter_;
};

}  // namespace finch::agent
