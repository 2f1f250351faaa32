#include "comm/threads_communicator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "comm/call_state.h"
#include "comm/reduction.h"
#include "comm/tensor_bytes.h"
#include "comm/thread_group.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long a wait sleeps before it looks whether it was aborted; the rank that completes it wakes it at once.
constexpr milliseconds kShortestLook{2};
constexpr milliseconds kLongestLook{50};

at::Tensor CopyOf(const at::Tensor& tensor) {
  at::Tensor copy = at::empty(tensor.sizes(), tensor.options().requires_grad(false));
  if (NumBytes(tensor) > 0) std::memcpy(copy.mutable_data_ptr(), tensor.const_data_ptr(), NumBytes(tensor));
  return copy;
}

void CopyBytes(at::Tensor to, const void* from) {
  if (NumBytes(to) > 0) std::memcpy(to.mutable_data_ptr(), from, NumBytes(to));
}

void CopyInRow(const std::vector<at::Tensor>& parts, at::Tensor row) {
  char* to = static_cast<char*>(row.mutable_data_ptr());
  for (const at::Tensor& part : parts)
    to = std::copy_n(static_cast<const char*>(part.const_data_ptr()), NumBytes(part), to);
}

class ThreadsCommunicator final : public Communicator {
 public:
  ThreadsCommunicator(std::shared_ptr<ThreadGroup> group, int rank, std::shared_ptr<CallState> parent)
      : group_(std::move(group)),
        rank_(rank),
        is_world_(parent == nullptr),
        state_(std::make_shared<CallState>(std::move(parent))) {}
  ~ThreadsCommunicator() override {
    if (is_world_) (*group_->ended())[rank_] = true;
  }

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  std::string backend() const override { return "threads"; }
  const std::vector<int64_t>& global_ranks() const override { return group_->global_ranks(); }

  void AllGatherInto(at::Tensor output, const at::Tensor& input) override;
  void AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) override;
  void ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) override;
  void AllReduce(at::Tensor tensor, ReduceOp op) override;
  void Broadcast(at::Tensor tensor, int root) override;
  void Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) override;
  void Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) override;
  void Send(const at::Tensor& tensor, int to, int tag) override;
  void Receive(at::Tensor tensor, int from, int tag) override;
  void Barrier() override { Meet({"barrier"}); }
  std::vector<std::string> AllGatherBytes(const std::string& bytes) override;
  std::unique_ptr<Communicator> Split(int color, int key) override;

  void SetDeadline(Clock::time_point deadline) override { state_->SetDeadline(deadline); }
  void Abort(const std::string& reason) override { state_->Abort(reason); }
  void AbortWhen(std::function<std::optional<std::string>()> poll) override { state_->AbortWhen(std::move(poll)); }
  bool usable() const override { return !state_->failed(); }

 private:
  // The round in which all ranks have made this call.
  std::shared_ptr<const ThreadRound> Meet(ThreadContribution contribution) {
    return MeetToMake(std::move(contribution), nullptr);
  }
  // The same; `make` is called by one rank and completes the round for all.
  std::shared_ptr<const ThreadRound> MeetToMake(ThreadContribution contribution,
                                                const std::function<void(ThreadRound&)>& make);
  void CheckUsable(const std::string& call);
  // Sleeps until `ready` holds (under the group's lock); `ended_rank` is the rank whose end makes that impossible, or
  // -1.
  void Wait(const std::string& call, const std::function<bool()>& ready, const std::function<int()>& ended_rank);
  void CheckSameCalls(const ThreadRound& round);
  // A tensor as `call` sent it must have the size of where it goes.
  void Deliver(const std::string& call, at::Tensor to, const at::Tensor& from);
  void CheckRoot(const std::string& call, int root) const;
  [[noreturn]] void Fail(const std::string& call, const std::string& reason);

  const std::shared_ptr<ThreadGroup> group_;
  const int rank_;
  const bool is_world_;
  const std::shared_ptr<CallState> state_;
  bool failed_ = false;
};

void ThreadsCommunicator::Fail(const std::string& call, const std::string& reason) {
  failed_ = true;
  state_->NoteFailure();
  std::string group;
  for (int64_t rank : global_ranks()) group += (group.empty() ? "" : ",") + std::to_string(rank);
  throw CommunicationError("threads " + call + " on rank " + std::to_string(global_ranks()[rank_]) + " in group [" +
                           group + "]: " + reason);
}

void ThreadsCommunicator::CheckUsable(const std::string& call) {
  if (auto reason = state_->AbortReason()) Fail(call, "aborted: " + *reason);
  if (failed_) Fail(call, "an earlier call of this communicator has failed");
}

void ThreadsCommunicator::Wait(const std::string& call, const std::function<bool()>& ready,
                               const std::function<int()>& ended_rank) {
  const Clock::time_point start = Clock::now();
  const Clock::time_point deadline = state_->DeadlineFor(start);
  milliseconds look = kShortestLook;
  while (!group_->Sleep(std::min(deadline, Clock::now() + look), ready)) {
    look = std::min(2 * look, kLongestLook);
    // Without the lock: what is asked here may itself use this group.
    if (auto reason = state_->AbortReason()) Fail(call, "aborted: " + *reason);
    // What it did before it ended counts.
    if (const int ended = ended_rank(); ended >= 0 && !group_->Sleep(Clock::now(), ready)) {
      Fail(call, "rank " + std::to_string(global_ranks()[ended]) + " has ended");
    }
    if (const Clock::time_point now = Clock::now(); now >= deadline) {
      Fail(call, "not done at its deadline, " + std::to_string(std::chrono::duration<double>(now - start).count()) +
                     " s after it began");
    }
  }
}

std::shared_ptr<const ThreadRound> ThreadsCommunicator::MeetToMake(ThreadContribution contribution,
                                                                   const std::function<void(ThreadRound&)>& make) {
  const std::string call = contribution.call;
  CheckUsable(call);
  const std::shared_ptr<ThreadRound> round = group_->Arrive(rank_, std::move(contribution));
  Wait(
      call, [&] { return group_->IsComplete(*round); }, [&] { return group_->EndedBefore(*round); });
  CheckSameCalls(*round);
  if (make) std::call_once(round->made_once, [&] { make(*round); });
  return round;
}

void ThreadsCommunicator::CheckSameCalls(const ThreadRound& round) {
  const ThreadContribution& mine = round.contributions[rank_];
  for (int rank = 0; rank < size(); ++rank) {
    const ThreadContribution& other = round.contributions[rank];
    if (other.call == mine.call && other.details == mine.details) continue;
    Fail(mine.call, "called" + mine.details + ", but rank " + std::to_string(global_ranks()[rank]) + " calls " +
                        other.call + other.details);
  }
}

void ThreadsCommunicator::Deliver(const std::string& call, at::Tensor to, const at::Tensor& from) {
  if (NumBytes(to) != NumBytes(from)) {
    Fail(call, "got " + std::to_string(NumBytes(from)) + " bytes for a tensor of " + std::to_string(NumBytes(to)));
  }
  CopyBytes(to, from.const_data_ptr());
}

void ThreadsCommunicator::CheckRoot(const std::string& call, int root) const {
  if (root < 0 || root >= size()) throw std::invalid_argument(call + ": no rank " + std::to_string(root));
}

std::string SizeOf(const at::Tensor& tensor) {
  return " of " + std::to_string(tensor.numel()) + " " + c10::toString(tensor.scalar_type());
}

std::string RootIs(int root) { return " with root " + std::to_string(root); }

void ThreadsCommunicator::AllGatherInto(at::Tensor output, const at::Tensor& input) {
  CheckTensor(output, "all_gather output");
  CheckTensor(input, "all_gather input");
  CheckChunks(output, input, size(), "all_gather");
  const auto round = Meet({"all_gather", SizeOf(input), {CopyOf(input)}});
  std::vector<at::Tensor> parts;
  for (const ThreadContribution& contribution : round->contributions) parts.push_back(contribution.tensors[0]);
  CopyInRow(parts, output);
}

void ThreadsCommunicator::AllGatherV(std::span<at::Tensor> outputs, const at::Tensor& input) {
  CheckTensors(outputs, size(), "all_gather_v outputs");
  CheckTensor(input, "all_gather_v input");
  if (NumBytes(outputs[rank_]) != NumBytes(input)) {
    throw std::invalid_argument("all_gather_v: own output differs in size");
  }
  const auto round = Meet({"all_gather_v", "", {CopyOf(input)}});
  for (int r = 0; r < size(); ++r) Deliver("all_gather_v", outputs[r], round->contributions[r].tensors[0]);
}

void ThreadsCommunicator::ReduceScatter(at::Tensor output, const at::Tensor& input, ReduceOp op) {
  CheckTensor(output, "reduce_scatter output");
  CheckTensor(input, "reduce_scatter input");
  CheckChunks(input, output, size(), "reduce_scatter");
  CheckReduction(output.scalar_type(), op);
  const auto round = Meet({"reduce_scatter", SizeOf(output) + " by " + NameOf(op), {CopyOf(input)}});
  std::vector<at::Tensor> chunks;
  for (const ThreadContribution& contribution : round->contributions) {
    chunks.push_back(contribution.tensors[0].view({size(), output.numel()}).select(0, rank_));
  }
  CopyBytes(output, Reduce(chunks, op).const_data_ptr());
}

void ThreadsCommunicator::AllReduce(at::Tensor tensor, ReduceOp op) {
  CheckTensor(tensor, "all_reduce tensor");
  CheckReduction(tensor.scalar_type(), op);
  const auto round =
      MeetToMake({"all_reduce", SizeOf(tensor) + " by " + NameOf(op), {CopyOf(tensor)}}, [&](ThreadRound& all) {
        std::vector<at::Tensor> parts;
        for (const ThreadContribution& contribution : all.contributions) parts.push_back(contribution.tensors[0]);
        all.reduced = Reduce(parts, op);
      });
  CopyBytes(tensor, round->reduced.const_data_ptr());
}

void ThreadsCommunicator::Broadcast(at::Tensor tensor, int root) {
  CheckTensor(tensor, "broadcast tensor");
  CheckRoot("broadcast", root);
  std::vector<at::Tensor> sent;
  if (rank_ == root) sent = {CopyOf(tensor)};
  const auto round = Meet({"broadcast", RootIs(root), std::move(sent)});
  if (rank_ != root) Deliver("broadcast", tensor, round->contributions[root].tensors[0]);
}

void ThreadsCommunicator::Gather(std::span<at::Tensor> outputs, const at::Tensor& input, int root) {
  CheckTensor(input, "gather input");
  CheckRoot("gather", root);
  CheckTensors(outputs, rank_ == root ? size() : 0, "gather outputs");
  const auto round = Meet({"gather", RootIs(root), {CopyOf(input)}});
  for (size_t r = 0; r < outputs.size(); ++r) Deliver("gather", outputs[r], round->contributions[r].tensors[0]);
}

void ThreadsCommunicator::Scatter(at::Tensor output, std::span<const at::Tensor> inputs, int root) {
  CheckTensor(output, "scatter output");
  CheckRoot("scatter", root);
  CheckTensors(inputs, rank_ == root ? size() : 0, "scatter inputs");
  std::vector<at::Tensor> sent;
  for (const at::Tensor& input : inputs) sent.push_back(CopyOf(input));
  const auto round = Meet({"scatter", RootIs(root), std::move(sent)});
  Deliver("scatter", output, round->contributions[root].tensors[rank_]);
}

void ThreadsCommunicator::Send(const at::Tensor& tensor, int to, int tag) {
  CheckTensor(tensor, "send tensor");
  CheckRoot("send", to);
  CheckUsable("send");
  group_->Post(to, {rank_, tag, CopyOf(tensor)});
}

void ThreadsCommunicator::Receive(at::Tensor tensor, int from, int tag) {
  CheckTensor(tensor, "receive tensor");
  CheckRoot("receive", from);
  CheckUsable("receive");
  Wait(
      "receive", [&] { return group_->HasMessage(rank_, from, tag); },
      [&] { return group_->HasEnded(from) ? from : -1; });
  Deliver("receive", tensor, *group_->Take(rank_, from, tag));
}

std::vector<std::string> ThreadsCommunicator::AllGatherBytes(const std::string& bytes) {
  const auto round = Meet({"all_gather_bytes", "", {BytesTensor(bytes)}});
  std::vector<std::string> result;
  for (const ThreadContribution& one : round->contributions) result.push_back(BytesString(one.tensors[0]));
  return result;
}

// Ranks in the new groups, by color: ordered by key, then rank here.
std::map<int, std::vector<int>> MembersByColor(const ThreadRound& round) {
  std::map<int, std::vector<int>> members;
  for (size_t rank = 0; rank < round.contributions.size(); ++rank) {
    const int color = round.contributions[rank].color;
    if (color >= 0) members[color].push_back(static_cast<int>(rank));
  }
  for (auto& [color, ranks] : members) {
    std::stable_sort(ranks.begin(), ranks.end(),
                     [&](int a, int b) { return round.contributions[a].key < round.contributions[b].key; });
  }
  return members;
}

std::unique_ptr<Communicator> ThreadsCommunicator::Split(int color, int key) {
  const auto round = MeetToMake({"split", "", {}, color, key}, [&](ThreadRound& all) {
    for (const auto& [each, members] : MembersByColor(all)) {
      std::vector<int64_t> ranks;
      for (int member : members) ranks.push_back(global_ranks()[member]);
      all.groups[each] = std::make_shared<ThreadGroup>(std::move(ranks), group_->ended());
    }
  });
  if (color < 0) return nullptr;
  const std::shared_ptr<ThreadGroup>& group = round->groups.at(color);
  const auto me = std::find(group->global_ranks().begin(), group->global_ranks().end(), global_ranks()[rank_]);
  return std::make_unique<ThreadsCommunicator>(group, static_cast<int>(me - group->global_ranks().begin()), state_);
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeThreadCommunicators(int world_size) {
  std::vector<int64_t> ranks(world_size);
  std::iota(ranks.begin(), ranks.end(), 0);
  const auto group = std::make_shared<ThreadGroup>(std::move(ranks), std::make_shared<EndedRanks>(world_size));
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < world_size; ++rank) {
    communicators.push_back(std::make_unique<ThreadsCommunicator>(group, rank, nullptr));
  }
  return communicators;
}

void RunThreadRanks(int world_size, const std::function<void(Communicator& world)>& rank_main) {
  std::vector<std::unique_ptr<Communicator>> worlds = MakeThreadCommunicators(world_size);
  std::mutex mutex;
  std::exception_ptr first_error;
  std::vector<std::thread> threads;
  for (std::unique_ptr<Communicator>& world : worlds) {
    threads.emplace_back([&] {
      try {
        rank_main(*world);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!first_error) first_error = std::current_exception();
      }
      world.reset();  // ends what peers wait for
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace shardcts
