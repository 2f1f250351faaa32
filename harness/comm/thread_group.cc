#include "comm/thread_group.h"

#include <utility>

namespace shardcts {

std::shared_ptr<ThreadRound> ThreadGroup::Arrive(int rank, ThreadContribution contribution) {
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t number = next_round_[rank]++;
  std::shared_ptr<ThreadRound>& slot = rounds_[number];
  if (!slot) slot = std::make_shared<ThreadRound>(size());
  const std::shared_ptr<ThreadRound> round = slot;
  round->contributions[rank] = std::move(contribution);
  round->arrived[rank] = true;
  if (--round->missing == 0) {
    rounds_.erase(number);
    changed_.notify_all();
  }
  return round;
}

void ThreadGroup::Post(int to, ThreadMessage message) {
  std::lock_guard<std::mutex> lock(mutex_);
  messages_[to].push_back(std::move(message));
  changed_.notify_all();
}

std::optional<at::Tensor> ThreadGroup::Take(int rank, int from, int tag) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto message = messages_[rank].begin(); message != messages_[rank].end(); ++message) {
    if (message->from != from || message->tag != tag) continue;
    at::Tensor tensor = std::move(message->tensor);
    messages_[rank].erase(message);
    return tensor;
  }
  return std::nullopt;
}

int ThreadGroup::EndedBefore(const ThreadRound& round) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (int rank = 0; rank < size(); ++rank) {
    if (!round.arrived[rank] && HasEnded(rank)) return rank;
  }
  return -1;
}

}  // namespace shardcts
