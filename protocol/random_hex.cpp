#include "protocol/random_hex.hpp"

#include <openssl/rand.h>

#include <format>
#include <vector>

namespace finch::protocol {

std::string random_hex(std::size_t bytes) {
  std::vector<unsigned char> random(bytes);
  RAND_bytes(random.data(), static_cast<int>(random.size()));
  std::string text;
  for (const unsigned char byte : random) text += std::format("{:02x}", byte);
  return text;
}

}  // namespace finch::protocol
