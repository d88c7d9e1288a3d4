// A library in ONNX Runtime's place that misbehaves as soon as it is asked for anything: what a custom operator, or a
// hole in the runtime, could do. FINCH_MISDEED names what. It ends the process with status 65 when the deed was
// refused and with 66 when it was done.
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

namespace {

// An abstract address, of no file.
sockaddr_un address() {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strcpy(address.sun_path + 1, "finch-hostile-runtime");
  return address;
}

bool listens() {
  const int file = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un at = address();
  return bind(file, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 && listen(file, 1) == 0;
}

// Whether one could, if somebody listened.
bool connects() {
  const int file = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un at = address();
  return connect(file, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 || errno == ECONNREFUSED;
}

bool done(const std::string& deed) {
  const char* victim = std::getenv("FINCH_VICTIM");
  if (deed == "socket") return socket(AF_INET, SOCK_STREAM, 0) >= 0;
  if (deed == "local socket") return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
  if (deed == "local datagrams") return socket(AF_UNIX, SOCK_DGRAM, 0) >= 0;
  if (deed == "raw local datagrams") return socket(AF_UNIX, SOCK_RAW, 0) >= 0;
  if (deed == "listen") return listens();
  if (deed == "connect") return connects();
  if (deed == "name a thread") {
    const int file =
        open(("/proc/self/task/" + std::to_string(gettid()) + "/comm").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    return write(file, "named", 5) == 5;
  }
  if (deed == "fork") return fork() >= 0;
  if (deed == "run a program") return std::system("exit 7") == 7 << 8;
  if (deed == "kill the agent") return kill(getppid(), SIGTERM) == 0;
  if (deed == "kill everybody") return kill(-1, SIGTERM) == 0;
  if (deed == "trace the agent") return ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr) == 0;
  if (deed == "leave the group") return setsid() >= 0;
  if (deed == "raise a limit") {
    const rlimit more{RLIM_INFINITY, RLIM_INFINITY};
    return setrlimit(RLIMIT_CPU, &more) == 0;
  }
  if (deed == "write a file") return open(victim, O_WRONLY | O_TRUNC) >= 0;
  if (deed == "make a file") return open((std::string(victim) + ".new").c_str(), O_RDONLY | O_CREAT, 0600) >= 0;
  if (deed == "delete a file") return unlink(victim) == 0;
  if (deed == "move a file") return rename(victim, (std::string(victim) + ".old").c_str()) == 0;
  if (deed == "read a file") return open(victim, O_RDONLY) >= 0;
  if (deed == "list a folder") return opendir(std::filesystem::path(victim).parent_path().c_str()) != nullptr;
  if (deed == "read a user's list") return open("/etc/passwd", O_RDONLY) >= 0;
  if (deed == "change a mode") {
    chmod(victim, 0777);
    struct stat after{};
    return stat(victim, &after) != 0 || (after.st_mode & 0777) == 0777;
  }
  if (deed == "read the agent's environment") {
    const int file = open(("/proc/" + std::to_string(getppid()) + "/environ").c_str(), O_RDONLY);
    char first = 0;
    return read(file, &first, 1) > 0;
  }
  if (deed == "open with a new call") return syscall(SYS_openat2, AT_FDCWD, victim, nullptr, 0) >= 0;
  if (deed == "write the agent's memory") {
    return open(("/proc/" + std::to_string(getppid()) + "/mem").c_str(), O_RDWR) >= 0;
  }
  std::fprintf(stderr, "no such deed: %s\n", deed.c_str());
  return true;
}

}  // namespace

extern "C" const void* OrtGetApiBase() {
  const std::string deed = std::getenv("FINCH_MISDEED");
  if (deed == "crash") raise(SIGSEGV);
  if (deed == "abort") std::abort();
  if (deed == "loop") {
    while (true) asm volatile("");
  }
  if (deed == "leave quietly") _exit(0);
  if (deed == "threads") {  // are no processes, and allowed
    std::thread([] { _exit(66); }).join();
  }
  if (deed == "take all memory") {
    for (std::size_t taken = 0; taken < std::size_t{64} << 30U; taken += std::size_t{64} << 20U) {
      char* memory = static_cast<char*>(std::malloc(std::size_t{64} << 20U));
      if (memory == nullptr) _exit(65);
      std::memset(memory, 1, std::size_t{64} << 20U);
    }
    _exit(66);
  }
  if (deed == "talk nonsense") {
    const std::string nonsense(100'000, '\xff');
    for (int i = 0; i < 10; ++i) [[maybe_unused]]
      const ssize_t written = write(3, nonsense.data(), nonsense.size());
    pause();
  }
  _exit(done(deed) ? 66 : 65);
}
