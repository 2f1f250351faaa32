#include "comm/local/peers.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "comm/communicator.h"
#include "comm/local/host_memory.h"

namespace shardcts {
namespace {

// Processes with the same one see each other by number.
std::string ProcessSpace() {
  std::string boot_id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  std::error_code ignored;
  return boot_id + "/" + std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
}

// What a rank says of its process.
struct Description {
  std::string space;
  pid_t process = 0;
  std::string host_memory;  // its handle; empty: none

  std::string ToText() const { return space + " " + std::to_string(process) + " " + host_memory; }
  static Description FromText(const std::string& text) {
    Description description;
    std::istringstream words(text);
    words >> description.space >> description.process >> std::ws;
    std::getline(words, description.host_memory);
    return description;
  }
};

int OpenProcess(const Description& description, const std::string& own_space, size_t rank) {
  const std::string who = "local: rank " + std::to_string(rank);
  if (description.space != own_space) {
    throw CommunicationError(who + " is on another host or in a container of its own; comm=mpi connects hosts");
  }
  const auto process = static_cast<int>(::syscall(SYS_pidfd_open, description.process, 0));
  if (process < 0) {
    throw CommunicationError(who + ", process " + std::to_string(description.process) + ": " + std::strerror(errno));
  }
  return process;
}

// Throws the first of the ranks' problems on all of them.
void Agree(const AllGatherText& all_gather, const std::string& problem) {
  for (const std::string& of_rank : all_gather(problem)) {
    if (!of_rank.empty()) throw CommunicationError(of_rank);
  }
}

std::string ProblemOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const CommunicationError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

std::unique_ptr<SharedMemory> MakeTogether(const AllGatherText& all_gather, int maker, bool is_maker, bool opens,
                                           int64_t bytes) {
  std::unique_ptr<SharedMemory> memory;
  std::string problem;
  if (is_maker) problem = ProblemOf([&] { memory = SharedMemory::Make("shardcts-group", bytes); });
  const std::string handle = all_gather(memory ? memory->Handle() : "").at(static_cast<size_t>(maker));
  // Without a handle the maker says what the problem is.
  if (opens && !is_maker && !handle.empty()) problem = ProblemOf([&] { memory = SharedMemory::Open(handle); });
  Agree(all_gather, problem);
  if (memory) memory->CloseFile();
  return memory;
}

std::shared_ptr<Peers> Peers::Meet(const AllGatherText& all_gather) {
  const HostMemory* memory = HostMemory::OfThisProcess();
  const Description own{ProcessSpace(), getpid(), memory ? memory->memory().Handle() : ""};
  const std::vector<std::string> texts = all_gather(own.ToText());
  std::shared_ptr<Peers> peers(new Peers);
  Agree(all_gather, ProblemOf([&] {
          for (size_t r = 0; r < texts.size(); ++r) {
            peers->processes_.push_back(OpenProcess(Description::FromText(texts[r]), own.space, r));
          }
        }));
  const std::string missing = ProblemOf([&] {
    for (const std::string& text : texts) {
      peers->host_memories_.push_back(SharedMemory::Open(Description::FromText(text).host_memory));
    }
  });
  const std::vector<std::string> all_missing = all_gather(missing);
  peers->has_host_memory_ = std::ranges::all_of(all_missing, [](const std::string& text) { return text.empty(); });
  if (!peers->has_host_memory_) peers->host_memories_.clear();
  return peers;
}

Peers::~Peers() {
  for (const int process : processes_) close(process);
}

bool Peers::HasEnded(int64_t rank) const {
  pollfd process{processes_[static_cast<size_t>(rank)], POLLIN, 0};
  return poll(&process, 1, 0) > 0;
}

}  // namespace shardcts
