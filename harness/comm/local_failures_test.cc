// Ranks of the local backend that end, stop or do not fit, and limits of the system: each test forks ranks of its own.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "comm/local_communicator.h"
#include "comm/testing/error_text.h"
#include "comm/testing/fork_ranks.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kGrace{10};
// Wide, for machines that are busy: the real bound is 200 ms. A wait that notices nothing takes 60 s.
constexpr int64_t kNoticed = 5'000'000'000;

int64_t NowNs() { return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count(); }

// What each rank has to tell the test, in memory that it shares with its forks.
struct Told {
  char text[400];
  int64_t time_ns;  // of the steady clock, which all processes share: when the wait ended, or the kill began
};
class ToldByRanks {
 public:
  ToldByRanks()
      : told_(static_cast<Told*>(
            mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~ToldByRanks() { munmap(told_, kBytes); }
  ToldByRanks(const ToldByRanks&) = delete;
  ToldByRanks& operator=(const ToldByRanks&) = delete;
  Told& operator[](int rank) { return told_[rank]; }
  std::vector<std::string> Texts(int ranks) {
    std::vector<std::string> texts;
    for (int rank = 0; rank < ranks; ++rank) texts.emplace_back(told_[rank].text);
    return texts;
  }

 private:
  static constexpr size_t kBytes = 64 * sizeof(Told);
  Told* told_;
};

// Runs `body` on each rank's communicator; what it throws is told.
std::vector<std::string> ErrorsByRank(int ranks, const std::function<void(Communicator& world)>& body) {
  ToldByRanks told;
  ForkRanks(ranks, kGrace, [&](Rendezvous& rendezvous) {
    std::unique_ptr<Communicator> world = MakeLocalCommunicator(rendezvous);
    world->SetDeadline(Clock::now() + std::chrono::seconds(20));
    const std::string text = ErrorText([&] { body(*world); });
    text.copy(told[rendezvous.rank()].text, sizeof(Told::text) - 1);
    rendezvous.AllGather("");  // no rank ends before all have told
    return 0;
  });
  return told.Texts(ranks);
}

using Call = std::function<void(Communicator& group)>;

at::Tensor Large() { return at::ones({3 << 20}); }

// Every call that waits for a peer, small and large.
std::vector<std::pair<std::string, Call>> CallsThatWait() {
  return {
      {"barrier", [](Communicator& group) { group.Barrier(); }},
      {"all_reduce", [](Communicator& group) { group.AllReduce(Large(), ReduceOp::kSum); }},
      {"all_gather", [](Communicator& group) { group.AllGatherInto(at::empty({group.size() * 4}), at::ones({4})); }},
      {"broadcast", [](Communicator& group) { group.Broadcast(Large(), group.size() - 1); }},
      {"receive", [](Communicator& group) { group.Receive(at::ones({4}), group.size() - 1, 0); }},
      {"send", [](Communicator& group) { group.Send(Large(), group.size() - 1, 0); }},
      {"split", [](Communicator& group) { group.Split(0, 0); }},
  };
}

// The last rank is killed while its peers wait for it.
void ExpectEndIsNoticed(int ranks, const std::string& name, const Call& call, bool in_a_split_off_group) {
  ToldByRanks told;
  const std::vector<ForkedRank> ended = ForkRanks(ranks, kGrace, [&](Rendezvous& rendezvous) {
    const std::unique_ptr<Communicator> world = MakeLocalCommunicator(rendezvous);
    const std::unique_ptr<Communicator> inner = in_a_split_off_group ? world->Split(0, world->rank()) : nullptr;
    Communicator& group = inner ? *inner : *world;
    group.Barrier();
    Told& mine = told[group.rank()];
    if (group.rank() == ranks - 1) {
      std::this_thread::sleep_for(milliseconds(100));  // its peers wait now
      mine.time_ns = NowNs();
      raise(SIGKILL);
    }
    const std::string text = ErrorText([&] { call(group); });
    mine.time_ns = NowNs();
    text.copy(mine.text, sizeof(Told::text) - 1);
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(ended.back().status)) << name;
  for (int rank = 0; rank < ranks - 1; ++rank) {
    EXPECT_THAT(told[rank].text, HasSubstr("rank " + std::to_string(ranks - 1) + " has ended")) << name;
    EXPECT_GT(told[rank].time_ns, told[ranks - 1].time_ns) << name << " on rank " << rank;
    EXPECT_LT(told[rank].time_ns - told[ranks - 1].time_ns, kNoticed) << name << " on rank " << rank;
  }
}

TEST(LocalFailuresTest, TheEndOfAPeerIsNoticedInEveryCall) {
  for (const auto& [name, call] : CallsThatWait()) {
    if (name == "receive" || name == "send") {
      ExpectEndIsNoticed(2, name, call, false);
    } else {
      ExpectEndIsNoticed(3, name, call, false);
    }
  }
  ExpectEndIsNoticed(4, "barrier", [](Communicator& group) { group.Barrier(); }, true);
}

TEST(LocalFailuresTest, APeerThatEndsAfterItsPartHarmsNobody) {
  const std::vector<ForkedRank> ended = ForkRanks(4, kGrace, [&](Rendezvous& rendezvous) {
    const std::unique_ptr<Communicator> world = MakeLocalCommunicator(rendezvous);
    std::vector<at::Tensor> parts(world->rank() == 0 ? 4 : 0, at::empty({100'000}));
    world->Gather(parts, at::full({100'000}, 1.0 * world->rank()), 0);
    if (world->rank() == 3) _exit(0);
    if (world->rank() == 0) world->Send(at::ones({10}), 1, 5);
    if (world->rank() == 1) world->Receive(at::ones({10}), 0, 5);
    return 0;
  });
  for (const ForkedRank& rank : ended) EXPECT_EQ(rank.status, 0);
}

TEST(LocalFailuresTest, APeerThatEndsBeforeThereIsACommunicatorIsNoticed) {
  ToldByRanks told;
  const Clock::time_point start = Clock::now();
  ForkRanks(3, kGrace, [&](Rendezvous& rendezvous) {
    if (rendezvous.rank() == 1) return 1;
    const std::string text = ErrorText([&] { MakeLocalCommunicator(rendezvous); });
    text.copy(told[rendezvous.rank()].text, sizeof(Told::text) - 1);
    return 0;
  });
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(30));
  EXPECT_THAT(told[0].text, HasSubstr("rank 1 has ended"));
  EXPECT_THAT(told[2].text, HasSubstr("rank 1 has ended"));
}

TEST(LocalFailuresTest, AStoppedPeerEndsTheWaitAtItsDeadline) {
  ToldByRanks told;
  ForkRanks(2, std::chrono::seconds(0), [&](Rendezvous& rendezvous) {
    const std::unique_ptr<Communicator> world = MakeLocalCommunicator(rendezvous);
    if (world->rank() == 1) raise(SIGSTOP);
    world->SetDeadline(Clock::now() + milliseconds(300));
    const std::string text = ErrorText([&] { world->Barrier(); });
    text.copy(told[0].text, sizeof(Told::text) - 1);
    return 1;  // the other one is killed
  });
  EXPECT_THAT(told[0].text, HasSubstr("not done at its deadline"));
}

TEST(LocalFailuresTest, RanksThatCallDifferentOperationsAreTold) {
  const std::vector<std::string> errors = ErrorsByRank(2, [](Communicator& world) {
    if (world.rank() == 0) world.Barrier();
    if (world.rank() == 1) world.AllReduce(at::ones({3}), ReduceOp::kSum);
  });
  EXPECT_THAT(errors[0], HasSubstr("local barrier on rank 0 in group [0,1]: called barrier, but rank 1 calls all_reduce "
                                   "of 3 Float by sum"));
  EXPECT_THAT(errors[1], HasSubstr("rank 0 calls barrier"));
}

TEST(LocalFailuresTest, SizesThatDoNotFitAreTold) {
  EXPECT_THAT(
      ErrorsByRank(2, [](Communicator& world) { world.AllReduce(at::ones({2 + world.rank()}), ReduceOp::kSum); }),
      Each(AllOf(HasSubstr("of 2 Float by sum"), HasSubstr("of 3 Float by sum"))));
  EXPECT_THAT(ErrorsByRank(2, [](Communicator& world) { world.Broadcast(at::ones({2 + world.rank()}), 0); })[1],
              HasSubstr("got 8 bytes of rank 0 for a tensor of 12"));
  EXPECT_THAT(ErrorsByRank(2,
                           [](Communicator& world) {
                             if (world.rank() == 0) world.Send(at::ones({2}), 1, 0);
                             if (world.rank() == 1) world.Receive(at::ones({3}), 0, 0);
                           })[1],
              HasSubstr("receive on rank 1 in group [0,1]: got 8 bytes for a tensor of 12"));
}

TEST(LocalFailuresTest, AMessageThatIsNotReceivedYetIsKept) {
  EXPECT_THAT(ErrorsByRank(2,
                           [](Communicator& world) {
                             const at::Tensor first = at::full({50'000}, 1.0);
                             const at::Tensor second = at::full({3}, 2.0);
                             if (world.rank() == 0) {
                               world.Send(first, 1, 1);
                               world.Send(second, 1, 2);
                             } else {
                               world.Receive(second.zero_(), 0, 2);
                               world.Receive(first.zero_(), 0, 1);
                             }
                             const bool is_right = first.eq(1).all().item<bool>() && second.eq(2).all().item<bool>();
                             if (!is_right) throw CommunicationError("wrong values");
                           }),
              Each("no error"));
}

// A limit that a shell sets with ulimit -f: the kernel would end a process that makes a larger file.
TEST(LocalFailuresTest, ALimitOfFileSizesIsOneClearError) {
  ToldByRanks told;
  const std::vector<ForkedRank> ended = ForkRanks(2, kGrace, [&](Rendezvous& rendezvous) {
    const rlimit limit{100 << 10, 100 << 10};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text = ErrorText([&] { MakeLocalCommunicator(rendezvous); });
    text.copy(told[rendezvous.rank()].text, sizeof(Told::text) - 1);
    return 0;
  });
  for (const ForkedRank& rank : ended) EXPECT_EQ(rank.status, 0);
  EXPECT_THAT(told.Texts(2), Each(HasSubstr("the limit on file sizes (ulimit -f) is 102400 bytes")));
}

// With room for the group's memory, but not for HostMemory: everything goes in pieces.
TEST(LocalFailuresTest, WithoutHostMemoryEverythingGoesInPieces) {
  const std::vector<ForkedRank> ended = ForkRanks(3, kGrace, [&](Rendezvous& rendezvous) {
    const rlimit limit{256 << 20, 256 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::unique_ptr<Communicator> world = MakeLocalCommunicator(rendezvous);
    const at::Tensor gathered = at::empty({3, 1'000'000});
    world->AllGatherInto(gathered, at::full({1'000'000}, 1.0 * world->rank()));
    bool is_right = world->DirectMemory() == nullptr && !world->ExchangeDirectly({{}, {}, {}}, {{}, {}, {}});
    for (int r = 0; r < 3; ++r) is_right &= gathered[r].eq(r).all().item<bool>();
    return is_right ? 0 : 1;
  });
  for (const ForkedRank& rank : ended) EXPECT_EQ(rank.status, 0);
}

TEST(LocalFailuresTest, NothingIsLeftBehindWhenAllAreKilled) {
  const auto names = [] {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      if (entry.path().filename().string().find("shardcts") != std::string::npos) found.push_back(entry.path());
    }
    return found;
  };
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm";
  const std::vector<std::string> before = names();
  ForkRanks(2, kGrace, [&](Rendezvous& rendezvous) {
    const std::unique_ptr<Communicator> world = MakeLocalCommunicator(rendezvous);
    const std::unique_ptr<Communicator> group = world->Split(0, 0);
    group->AllReduce(Large(), ReduceOp::kSum);
    raise(SIGKILL);
    return 0;
  });
  EXPECT_EQ(names(), before);
}

}  // namespace
}  // namespace shardcts
