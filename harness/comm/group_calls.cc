#include "comm/group_calls.h"

#include <ATen/ATen.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;

// A wait that has outlasted its busy time sleeps for a 32nd of what it has waited, at most 1 ms: many ranks that poll for
// a late peer would take the processor that the peer needs.
void SleepAfter(std::chrono::nanoseconds waited) {
  const auto pause = std::min<std::chrono::nanoseconds>(waited / 32, std::chrono::milliseconds(1));
  const timespec time{0, static_cast<long>(pause.count())};
  nanosleep(&time, nullptr);
}

// What a rank tells at once of its bytes: how many they are, and they themselves where all ranks' fit.
constexpr int64_t kRowBytes = 1024;
constexpr int64_t kRoomInRow = kRowBytes - int64_t{sizeof(int64_t)};

at::Tensor Bytes(int64_t count, at::Device device) { return at::empty({count}, at::dtype(at::kByte).device(device)); }

// Every rank's numbers, on the CPU: [size, count].
at::Tensor AllGatherNumbers(Communicator& group, const std::vector<int64_t>& numbers, at::Device device) {
  const at::Tensor own = at::tensor(numbers, at::kLong).to(device);
  at::Tensor all = at::empty({group.size(), own.numel()}, own.options());
  group.AllGatherInto(all, own);
  return all.cpu();
}

}  // namespace

std::vector<std::string> AllGatherBytesAsTensors(Communicator& group, const std::string& bytes, at::Device device) {
  const auto size = static_cast<int64_t>(bytes.size());
  std::string row(kRowBytes, '\0');
  std::memcpy(row.data(), &size, sizeof(size));
  bytes.copy(row.data() + sizeof(size), kRoomInRow);
  const at::Tensor all = Bytes(group.size() * kRowBytes, device);
  group.AllGatherInto(all, BytesTensor(row).to(device));
  const std::string rows = BytesString(all.cpu());
  std::vector<int64_t> sizes(static_cast<size_t>(group.size()));
  for (size_t r = 0; r < sizes.size(); ++r) std::memcpy(&sizes[r], rows.data() + r * kRowBytes, sizeof(int64_t));
  std::vector<std::string> result;
  if (std::ranges::all_of(sizes, [](int64_t of_rank) { return of_rank <= kRoomInRow; })) {
    for (size_t r = 0; r < sizes.size(); ++r) {
      result.push_back(rows.substr(r * kRowBytes + sizeof(int64_t), static_cast<size_t>(sizes[r])));
    }
    return result;
  }
  std::vector<at::Tensor> parts;
  for (const int64_t of_rank : sizes) parts.push_back(Bytes(of_rank, device));
  group.AllGatherV(parts, BytesTensor(bytes).to(device));
  for (const at::Tensor& part : parts) result.push_back(BytesString(part.cpu()));
  return result;
}

std::vector<int64_t> MembersAfterSplit(Communicator& group, int color, int key, at::Device device) {
  const at::Tensor wishes = AllGatherNumbers(group, {color, key}, device);
  std::vector<std::tuple<int64_t, int64_t>> members;  // key, rank here
  for (int64_t r = 0; color >= 0 && r < group.size(); ++r) {
    if (wishes[r][0].item<int64_t>() == color) members.emplace_back(wishes[r][1].item<int64_t>(), r);
  }
  std::sort(members.begin(), members.end());
  std::vector<int64_t> ranks;
  for (const auto& [unused_key, member] : members) ranks.push_back(group.global_ranks()[member]);
  return ranks;
}

int LocalRank(Communicator& world) {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  const std::vector<std::string> hosts = world.AllGatherBytes(name);
  return static_cast<int>(std::count(hosts.begin(), hosts.begin() + world.rank(), hosts[world.rank()]));
}

std::string FailureText(const Communicator& group, const std::string& operation, const std::string& reason) {
  return FailureText(group.backend(), operation, group.global_ranks(), group.rank(), reason);
}

std::string FailureText(const std::string& backend, const std::string& operation,
                        const std::vector<int64_t>& global_ranks, int rank, const std::string& reason) {
  std::string ranks;
  for (int64_t each : global_ranks) ranks += (ranks.empty() ? "" : ",") + std::to_string(each);
  return backend + " " + operation + " on rank " + std::to_string(global_ranks[static_cast<size_t>(rank)]) +
         " in group [" + ranks + "]: " + reason;
}

std::optional<std::string> WaitFor(CallState& state, const std::function<bool(std::string& problem)>& poll,
                                   std::chrono::nanoseconds busy, const std::function<void()>& rest) {
  const Clock::time_point start = Clock::now();
  const Clock::time_point deadline = state.DeadlineFor(start);
  for (;;) {
    std::string problem;
    if (poll(problem)) return std::nullopt;
    if (!problem.empty()) return problem;
    if (auto reason = state.AbortReason()) return "aborted: " + *reason;
    const Clock::time_point now = Clock::now();
    if (now >= deadline) {
      return "not done at its deadline, " + std::to_string(std::chrono::duration<double>(now - start).count()) +
             " s after it began";
    }
    if (now - start < busy) {
      sched_yield();
    } else if (rest) {
      rest();
    } else {
      SleepAfter(now - start);
    }
  }
}

}  // namespace shardcts
