// What GCC 14's libstdc++ wants of glibc 2.36 and 2.38, for boards with glibc 2.35. Only in the packages.
#include <sys/random.h>

#include <cstdint>
#include <cstdlib>

extern "C" {

// std::random_device. getrandom() gives so few bytes whole, or not at all before the kernel has gathered any.
std::uint32_t arc4random() {
  std::uint32_t value = 0;
  if (getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
  return value;
}

// C23's strtoul also reads binary digits, which nothing here gives it.
unsigned long __isoc23_strtoul(const char* text, char** end, int base) {
  return std::strtoul(text, end, base);
}
}
