// A meter as people attach one: prints "monotonic_ns watts" lines, a hundred a second. Usage: power_meter FILE IDLE
// LOADED; it prints LOADED watts while FILE exists, else IDLE.
#include <time.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  while (true) {
    const timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
    timespec at{};
    clock_gettime(CLOCK_MONOTONIC, &at);
    const bool loaded = access(argv[1], F_OK) == 0;
    std::printf("%lld %s\n", static_cast<long long>(at.tv_sec) * 1'000'000'000 + at.tv_nsec, argv[loaded ? 3 : 2]);
    std::fflush(stdout);
  }
}
