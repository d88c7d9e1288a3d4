// A sleep that a stop ends. Thread safe.
#pragma once

#include <chrono>
#include <stop_token>

namespace finch::agent {

// False: stopped.
bool pause(std::chrono::duration<double> duration, const std::stop_token& stop);

}  // namespace finch::agent
