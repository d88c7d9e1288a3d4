#include "agent/sandbox.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/child_process.hpp"

namespace finch::agent {
namespace {

// The sanitizers map more than any limit, before main() begins.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryCanBeLimited = false;
#else
constexpr bool kMemoryCanBeLimited = true;
#endif

constexpr rlim_t kOpenFiles = 1024;

bool limit(int resource, rlim_t soft, rlim_t hard) {
  const rlimit value{soft, hard};
  return setrlimit(static_cast<__rlimit_resource_t>(resource), &value) == 0;
}

std::expected<void, Error> set_limits(const SandboxLimits& limits) {
  const auto memory = static_cast<rlim_t>(limits.memory_bytes);
  const auto seconds = static_cast<rlim_t>(limits.processor_time.count());
  const auto file = static_cast<rlim_t>(limits.file_bytes);
  // The kernel asks politely at the soft limit of processor time, and kills at the hard one.
  const bool set = limit(RLIMIT_CORE, 0, 0) && limit(RLIMIT_FSIZE, file, file) &&
                   limit(RLIMIT_NOFILE, kOpenFiles, kOpenFiles) &&
                   (memory == 0 || !kMemoryCanBeLimited || limit(RLIMIT_DATA, memory, memory)) &&
                   (seconds == 0 || limit(RLIMIT_CPU, seconds, seconds + 1));
  if (set) return {};
  return std::unexpected(Error{std::format("cannot limit the measuring process: {}", std::strerror(errno))});
}

// Of root's no more than to open files whoever owns them; what the kernel lets those with other capabilities do (read
// another process's memory, raise a limit) is none of a model's business. For other users there is nothing to lose.
void drop_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) return;
  constexpr std::uint32_t kKept = (1U << CAP_DAC_OVERRIDE) | (1U << CAP_DAC_READ_SEARCH);
  sets[0] = {.effective = sets[0].effective & kKept, .permitted = sets[0].permitted & kKept, .inheritable = 0};
  sets[1] = {};
  // Where it cannot be done, the rest of the sandbox holds alone.
  syscall(SYS_capset, &header, sets.data());
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ALLOW)) {
    // Before Linux 5.16 a filter also slows down every load that follows a store, which would be measured with the
    // model. Not known to an older library or kernel: then it is as it is.
    if (context_) seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_SSB, 1);
  }

  // The calls then fail with `error`. Those that this processor does not have are left out.
  void refuse(int error, std::initializer_list<int> calls) {
    for (const int call : calls) add(error, call, {});
  }
  void refuse_where(int error, int call, const scmp_arg_cmp& condition) { add(error, call, condition); }

  bool load() { return context_ && complete_ && seccomp_load(context_.get()) == 0; }

 private:
  struct Release {
    void operator()(void* context) const { seccomp_release(context); }
  };
  void add(int error, int call, std::optional<scmp_arg_cmp> condition) {
    if (!context_ || call < 0) return;
    const auto action = SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error));
    const scmp_arg_cmp* conditions = condition ? &*condition : nullptr;
    if (seccomp_rule_add_array(context_.get(), action, call, condition ? 1 : 0, conditions) != 0) complete_ = false;
  }
  std::unique_ptr<void, Release> context_;
  bool complete_ = true;
};

scmp_arg_cmp argument(unsigned index, scmp_compare compare, std::uint64_t a, std::uint64_t b = 0) {
  return {index, compare, a, b};
}

// `locally`: CUDA keeps a local socket, by which its processes could share memory, and gives up where it cannot.
// Without connect() and datagrams nothing goes out by one.
void refuse_network(Filter& filter, bool locally) {
  filter.refuse(EACCES, {SCMP_SYS(socketpair), SCMP_SYS(connect)});
  if (!locally) {
    filter.refuse(EACCES, {SCMP_SYS(socket), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4)});
    return;
  }
  constexpr std::uint64_t kKind = 0xf;
  filter.refuse_where(EACCES, SCMP_SYS(socket), argument(0, SCMP_CMP_NE, AF_UNIX));
  // A raw local socket is one for datagrams, too.
  for (const int kind : {SOCK_DGRAM, SOCK_RAW})
    filter.refuse_where(EACCES, SCMP_SYS(socket),
                        argument(1, SCMP_CMP_MASKED_EQ, kKind, static_cast<std::uint64_t>(kind)));
}

void refuse_processes(Filter& filter) {
  filter.refuse(EPERM,
                {SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace),
                 SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd),
                 SCMP_SYS(pidfd_send_signal), SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(rt_tgsigqueueinfo), SCMP_SYS(tkill),
                 SCMP_SYS(setpgid), SCMP_SYS(setsid), SCMP_SYS(kcmp)});
  // Threads are clones too. clone3's flags lie in memory, out of a filter's sight: the C library then takes clone.
  filter.refuse(ENOSYS, {SCMP_SYS(clone3)});
  filter.refuse_where(EPERM, SCMP_SYS(clone), argument(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
  const auto self = static_cast<std::uint64_t>(getpid());
  filter.refuse_where(EPERM, SCMP_SYS(kill), argument(0, SCMP_CMP_NE, self));
  filter.refuse_where(EPERM, SCMP_SYS(tgkill), argument(0, SCMP_CMP_NE, self));
  // It must go with the agent.
  filter.refuse_where(EPERM, SCMP_SYS(prctl), argument(0, SCMP_CMP_EQ, PR_SET_PDEATHSIG));
}

// Which Landlock does not know.
void refuse_changes_of_attributes(Filter& filter) {
  filter.refuse(EACCES, {SCMP_SYS(chown), SCMP_SYS(fchown), SCMP_SYS(lchown), SCMP_SYS(fchownat), SCMP_SYS(setxattr),
                         SCMP_SYS(lsetxattr), SCMP_SYS(fsetxattr), SCMP_SYS(mknod), SCMP_SYS(mknodat)});
  // Told that it was done: OpenVINO takes the right to write from what it keeps, and gives up where it cannot.
  constexpr int kNone = 0;
  filter.refuse(kNone, {SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat)});
}

void refuse_changes_of_files(Filter& filter) {
  filter.refuse(EACCES,
                {SCMP_SYS(creat), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat),
                 SCMP_SYS(renameat2), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(link),
                 SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat), SCMP_SYS(truncate), SCMP_SYS(utimensat)});
  filter.refuse(ENOSYS, {SCMP_SYS(openat2)});
  const auto refuse_open = [&](std::uint64_t mask, std::uint64_t value) {
    filter.refuse_where(EACCES, SCMP_SYS(open), argument(1, SCMP_CMP_MASKED_EQ, mask, value));
    filter.refuse_where(EACCES, SCMP_SYS(openat), argument(2, SCMP_CMP_MASKED_EQ, mask, value));
  };
  refuse_open(O_ACCMODE, O_WRONLY);
  refuse_open(O_CREAT, O_CREAT);
  refuse_open(O_TRUNC, O_TRUNC);
  refuse_open(O_ACCMODE, O_RDWR);
}

void refuse_what_root_does(Filter& filter) {
  filter.refuse(EPERM,
                {SCMP_SYS(mount),      SCMP_SYS(umount2),      SCMP_SYS(pivot_root),      SCMP_SYS(chroot),
                 SCMP_SYS(setns),      SCMP_SYS(unshare),      SCMP_SYS(reboot),          SCMP_SYS(swapon),
                 SCMP_SYS(swapoff),    SCMP_SYS(init_module),  SCMP_SYS(finit_module),    SCMP_SYS(delete_module),
                 SCMP_SYS(kexec_load), SCMP_SYS(bpf),          SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd),
                 SCMP_SYS(keyctl),     SCMP_SYS(add_key),      SCMP_SYS(request_key),     SCMP_SYS(setuid),
                 SCMP_SYS(setgid),     SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),   SCMP_SYS(sethostname),
                 SCMP_SYS(acct),       SCMP_SYS(quotactl),     SCMP_SYS(syslog),          SCMP_SYS(personality)});
  // It does what the filter refuses, out of the filter's sight.
  filter.refuse(ENOSYS, {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register)});
}

std::optional<std::int64_t> kibibytes_available(const SystemFiles& files) {
  const std::string text = files.read("/proc/meminfo").value_or("");
  constexpr std::string_view kKey = "MemAvailable:";
  const std::size_t at = text.find(kKey);
  if (at == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(text).substr(at + kKey.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return parse_number(rest.substr(0, rest.find(' ')));
}

}  // namespace

std::int64_t memory_to_spare(const SystemFiles& files, double share) {
  std::int64_t spare = kibibytes_available(files).value_or(0) * 1024;
  // Where there is no limit the file holds "max", or is not there.
  const auto most = files.read_number("/sys/fs/cgroup/memory.max");
  const auto used = files.read_number("/sys/fs/cgroup/memory.current");
  if (most && used) spare = spare > 0 ? std::min(spare, *most - *used) : *most - *used;
  return static_cast<std::int64_t>(share * static_cast<double>(std::max<std::int64_t>(spare, 0)));
}

std::expected<void, Error> enter_sandbox(const SandboxLimits& limits) {
  be_the_first_to_go();
  if (auto set = set_limits(limits); !set) return set;
  drop_capabilities();
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (auto kept = keep_only(limits.files); !kept) return kept;
  Filter filter;
  refuse_network(filter, limits.may_listen_locally);
  refuse_processes(filter);
  refuse_what_root_does(filter);
  refuse_changes_of_attributes(filter);
  if (!limits.may_write_files) refuse_changes_of_files(filter);
  // It fails where the kernel has no seccomp, such as under an emulator of the processor.
  filter.load();
  return {};
}

}  // namespace finch::agent
