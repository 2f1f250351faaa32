#include "rank/control_plane.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "comm/communicator.h"
#include "contract/operation_table.h"

namespace shardcts {
namespace {

constexpr int64_t kOperation = 1;
constexpr int64_t kEnd = 2;
constexpr int64_t kFields = 5;
// In the place of an operation's index.
constexpr int64_t kAllGather = -1;
constexpr int64_t kAmong = -2;
constexpr std::chrono::milliseconds kRingGrace{100};

std::string Activity(int64_t operation_index) {
  if (operation_index == kAllGather) return "exchanges values";
  if (operation_index == kAmong) return "lets some ranks go on alone";
  return "calls " + Operations()[operation_index].name;
}

}  // namespace

ControlPlane::ControlPlane(Communicator& communicator, std::chrono::seconds patience)
    : communicator_(communicator), active_(&communicator), patience_(patience) {}

std::vector<ControlPlane::Message> ControlPlane::Exchange(const Message& mine) {
  std::vector<Message> all(active_->size());
  const at::Tensor input = at::tensor({mine.kind, mine.operation, mine.step, mine.failed, mine.broken}, at::kLong);
  at::Tensor output = at::empty({active_->size() * kFields}, at::kLong);
  active_->SetDeadline(std::chrono::steady_clock::now() + patience_);
  active_->AllGatherInto(output, input);
  const int64_t* fields = output.const_data_ptr<int64_t>();
  for (size_t r = 0; r < all.size(); ++r) {
    const int64_t* row = fields + r * kFields;
    all[r] = {row[0], row[1], row[2], row[3], row[4]};
  }
  return all;
}

int64_t ControlPlane::BeforeCollective(int64_t operation_index, int64_t proposed_step) {
  const std::vector<Message> all = Exchange({kOperation, operation_index, proposed_step, 0, 0});
  int64_t step = 0;
  std::string others;
  bool peer_failed = false;
  for (size_t r = 0; r < all.size(); ++r) {
    step = std::max(step, all[r].step);
    if (all[r].kind == kOperation && all[r].operation == operation_index) continue;
    peer_failed = peer_failed || (all[r].kind == kEnd && all[r].failed);
    const std::string does = all[r].kind == kEnd ? (all[r].failed ? "stopped after a failure" : "ended the test")
                                                 : Activity(all[r].operation);
    if (others.size() < 200) {
      others += fmt::format("{}rank {} {}", others.empty() ? "" : ", ", active_->global_ranks()[r], does);
    }
  }
  if (others.empty()) return step;
  const std::string text =
      fmt::format("rank {} {}, but {}", communicator_.rank(), Activity(operation_index), others);
  if (peer_failed) throw PeerStopped(text);
  throw Diverged(text);
}

std::vector<std::string> ControlPlane::AllGather(const std::string& bytes) {
  BeforeCollective(kAllGather, 0);
  active_->SetDeadline(std::chrono::steady_clock::now() + patience_);
  return active_->AllGatherBytes(bytes);
}

void ControlPlane::Among(const std::vector<int64_t>& ranks, const std::function<void()>& body) {
  BeforeCollective(kAmong, 0);
  const bool member = std::ranges::find(ranks, int64_t{communicator_.rank()}) != ranks.end();
  const std::unique_ptr<Communicator> group = communicator_.Split(member ? 0 : -1, communicator_.rank());
  if (!member) return;
  active_ = group.get();
  const auto leave = [this](bool failed) {
    ExchangeEnd(failed, false);
    active_ = &communicator_;
  };
  try {
    body();
  } catch (...) {
    leave(true);
    throw;
  }
  leave(false);
}

// A ring is the number of the test and the rank in one: it may arrive when the test is over.
void ControlPlane::RingPeers() { communicator_.Signal(test_ * communicator_.size() + communicator_.rank()); }

std::optional<std::string> ControlPlane::StopOfAPeer() {
  const auto now = std::chrono::steady_clock::now();
  for (const int64_t ring : communicator_.Signals()) {
    if (!ring_ || *ring_ / communicator_.size() < ring / communicator_.size()) ring_ = ring, heard_ = now;
  }
  if (!ring_ || *ring_ / communicator_.size() != test_ || now < heard_ + kRingGrace) return std::nullopt;
  stopped_by_ = fmt::format("rank {} stopped after a failure", *ring_ % communicator_.size());
  return stopped_by_;
}

std::vector<ControlPlane::Message> ControlPlane::ExchangeEnd(bool failed, bool broken) {
  std::vector<Message> all;
  do {
    all = Exchange({kEnd, 0, 0, failed, broken});
  } while (!std::ranges::all_of(all, [](const Message& message) { return message.kind == kEnd; }));
  return all;
}

bool ControlPlane::EndOfTest(bool failed, bool broken) {
  const std::vector<Message> all = ExchangeEnd(failed, broken);
  ++test_;
  stopped_by_.clear();
  return std::ranges::any_of(all, [](const Message& message) { return message.broken != 0; });
}

}  // namespace shardcts
