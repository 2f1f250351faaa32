#include "comm/testing/fork_ranks.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "comm/call_state.h"
#include "comm/communicator.h"
#include "comm/group_calls.h"
#include "comm/local/event.h"

namespace shardcts {
namespace {

constexpr size_t kMessageBytes = 4096;

// In memory that the process and its forks share.
struct Desk {
  std::atomic<int64_t> given;  // rounds in which this rank has given its message
  std::atomic<int64_t> taken;  // rounds in which it has taken all others'
  std::atomic<bool> ended;
  size_t bytes;
  char message[kMessageBytes];
};

class Meeting {
 public:
  explicit Meeting(int ranks) : ranks_(ranks) {
    const size_t bytes = sizeof(Desk) * static_cast<size_t>(ranks + 1);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error(std::string("mmap: ") + std::strerror(errno));
    memory_ = static_cast<Desk*>(memory);
  }
  ~Meeting() { munmap(memory_, sizeof(Desk) * static_cast<size_t>(ranks_ + 1)); }
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  int ranks() const { return ranks_; }
  Desk& DeskOf(int rank) { return memory_[rank + 1]; }
  Event& event() { return *reinterpret_cast<Event*>(memory_); }
  void NoteEnd(int rank) {
    DeskOf(rank).ended = true;
    event().Notify();
  }

 private:
  int ranks_;
  Desk* memory_;
};

class ForkedRendezvous final : public Rendezvous {
 public:
  ForkedRendezvous(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return meeting_.ranks(); }

  std::vector<std::string> AllGather(const std::string& bytes) override {
    if (bytes.size() > kMessageBytes) throw CommunicationError("a message of more than 4096 bytes");
    Desk& own = meeting_.DeskOf(rank_);
    Await(&Desk::taken, round_);
    own.bytes = bytes.size();
    bytes.copy(own.message, bytes.size());
    ++round_;
    own.given = round_;
    meeting_.event().Notify();
    Await(&Desk::given, round_);
    std::vector<std::string> messages;
    for (int peer = 0; peer < size(); ++peer) {
      messages.emplace_back(meeting_.DeskOf(peer).message, meeting_.DeskOf(peer).bytes);
    }
    own.taken = round_;
    meeting_.event().Notify();
    return messages;
  }

 private:
  void Await(std::atomic<int64_t> Desk::*counter, int64_t round) {
    CallState state;
    uint32_t count = 0;
    const auto poll = [&](std::string& problem) {
      count = meeting_.event().Count();
      for (int peer = 0; peer < size(); ++peer) {
        const bool ended = meeting_.DeskOf(peer).ended;
        if (meeting_.DeskOf(peer).*counter >= round) continue;
        if (ended) problem = "rank " + std::to_string(peer) + " has ended";
        return false;
      }
      return true;
    };
    const auto sleep = [&] { meeting_.event().Wait(count, std::chrono::milliseconds(10)); };
    if (const auto reason = WaitFor(state, poll, std::chrono::microseconds(20), sleep)) {
      throw CommunicationError("rendezvous of rank " + std::to_string(rank_) + ": " + *reason);
    }
  }

  Meeting& meeting_;
  int rank_;
  int64_t round_ = 0;
};

[[noreturn]] void RunRank(pid_t parent, Meeting& meeting, int rank,
                          const std::function<int(Rendezvous& rendezvous)>& rank_main) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it ended before
  ForkedRendezvous rendezvous(meeting, rank);
  int code = 1;
  try {
    code = rank_main(rendezvous);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
  }
  std::exit(code);  // as from main: what is registered for the end of the process runs
}

}  // namespace

std::vector<ForkedRank> ForkRanks(int ranks, std::chrono::seconds grace,
                                  const std::function<int(Rendezvous& rendezvous)>& rank_main) {
  Meeting meeting(ranks);
  std::fflush(nullptr);
  const pid_t parent = getpid();
  std::vector<ForkedRank> forked;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t process = fork();
    if (process == 0) RunRank(parent, meeting, rank, rank_main);
    if (process < 0) {
      for (const ForkedRank& started : forked) kill(started.process, SIGKILL);
      throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
    }
    forked.push_back({process});
  }
  using Clock = std::chrono::steady_clock;
  Clock::time_point end = Clock::time_point::max();
  std::vector<bool> ended(forked.size(), false);
  for (int missing = ranks; missing > 0;) {
    bool found = false;
    for (size_t rank = 0; rank < forked.size(); ++rank) {
      if (ended[rank] || waitpid(forked[rank].process, &forked[rank].status, WNOHANG) == 0) continue;
      ended[rank] = found = true;
      --missing;
      meeting.NoteEnd(static_cast<int>(rank));
      if (forked[rank].status != 0) end = std::min(end, Clock::now() + grace);
    }
    if (found) continue;
    if (Clock::now() >= end) {
      for (size_t rank = 0; rank < forked.size(); ++rank) {
        if (!ended[rank]) kill(forked[rank].process, SIGKILL);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return forked;
}

}  // namespace shardcts
