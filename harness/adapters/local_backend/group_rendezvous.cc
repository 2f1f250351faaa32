#include "adapters/local_backend/group_rendezvous.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "comm/local_communicator.h"
#include "comm/rendezvous.h"

namespace shardcts::local_backend {
namespace {

class StoreRendezvous final : public Rendezvous {
 public:
  StoreRendezvous(c10::intrusive_ptr<c10d::Store> store, int rank, int size)
      : store_(std::move(store)), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::vector<std::string> AllGather(const std::string& bytes) override {
    const std::string round = "shardcts/" + std::to_string(rounds_++) + "/";
    store_->set(round + std::to_string(rank_), bytes);
    std::vector<std::string> all;
    for (int peer = 0; peer < size_; ++peer) {
      const std::vector<uint8_t> said = store_->get(round + std::to_string(peer));
      all.emplace_back(said.begin(), said.end());
    }
    return all;
  }

 private:
  c10::intrusive_ptr<c10d::Store> store_;
  int rank_;
  int size_;
  int rounds_ = 0;
};

void SendText(Communicator& world, const std::string& text, int to) {
  world.Send(at::tensor(static_cast<int64_t>(text.size())), to, 0);
  const at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  world.Send(bytes, to, 0);
}

std::string ReceiveText(Communicator& world, int from) {
  const at::Tensor size = at::zeros({}, at::kLong);
  world.Receive(size, from, 0);
  const at::Tensor bytes = at::empty({size.item<int64_t>()}, at::kByte);
  world.Receive(bytes, from, 0);
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

// By messages between some ranks of a communicator, which come in the order in which they are sent.
class MessageRendezvous final : public Rendezvous {
 public:
  MessageRendezvous(Communicator& world, const std::vector<int64_t>& ranks, int rank)
      : world_(world), ranks_(ranks), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(ranks_.size()); }
  std::vector<std::string> AllGather(const std::string& bytes) override {
    std::vector<std::string> all(ranks_.size());
    all[static_cast<size_t>(rank_)] = bytes;
    for (size_t peer = 0; peer < ranks_.size(); ++peer) {
      if (static_cast<int>(peer) != rank_) SendText(world_, bytes, static_cast<int>(ranks_[peer]));
    }
    for (size_t peer = 0; peer < ranks_.size(); ++peer) {
      if (static_cast<int>(peer) != rank_) all[peer] = ReceiveText(world_, static_cast<int>(ranks_[peer]));
    }
    return all;
  }

 private:
  Communicator& world_;
  const std::vector<int64_t>& ranks_;
  int rank_;
};

struct World {
  std::mutex mutex;
  std::unique_ptr<Communicator> messages;  // nullptr: no group of all ranks was made
};

World& TheWorld() {
  static auto* world = new World;
  return *world;
}

}  // namespace

std::unique_ptr<Communicator> MakeGroup(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                        const std::vector<int64_t>& global_ranks, std::chrono::milliseconds timeout) {
  World& world = TheWorld();
  const std::lock_guard lock(world.mutex);
  if (global_ranks.empty()) {
    StoreRendezvous rendezvous(store, rank, size);
    world.messages = MakeLocalCommunicator(rendezvous);
  }
  TORCH_CHECK(world.messages != nullptr, "local: the group of all ranks is to be made first");
  std::vector<int64_t> members = global_ranks;
  if (members.empty()) members = world.messages->global_ranks();
  world.messages->SetDeadline(std::chrono::steady_clock::now() + timeout);
  MessageRendezvous rendezvous(*world.messages, members, rank);
  return MakeLocalCommunicator(rendezvous);
}

}  // namespace shardcts::local_backend
