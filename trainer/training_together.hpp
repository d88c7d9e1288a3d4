// Several processes serve one job: the leader hands each training to the others, who train along and give nothing back.
// Not thread safe.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "trainer/error.hpp"
#include "trainer/jobs.hpp"
#include "trainer/process_group.hpp"

namespace finch::trainer {

// The leader's call before it serves a training: what the others need, its files included.
void hand_on(ProcessGroup& group, const protocol::ChildRequest& request);
// The leader's last call.
void dismiss(ProcessGroup& group);

// The others: serve what the leader hands on until it dismisses them. Error: the leader or another process is gone.
std::expected<void, Error> follow(ProcessGroup& group, JobServer& jobs);

// Starts the other processes of this machine, as `program` with `arguments` and torchrun's variables in the
// environment; they end with this process. Gives where to meet them, as the leader. Error: they cannot be started.
std::expected<Rendezvous, Error> start_others(const std::vector<std::string>& command, int processes);

}  // namespace finch::trainer
