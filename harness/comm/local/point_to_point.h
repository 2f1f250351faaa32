// PointToPoint: messages from one rank of a group to another, through a channel for each pair in the group's memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "comm/local/group.h"

namespace shardcts {

class PointToPoint {
 public:
  explicit PointToPoint(LocalGroup& group) : group_(group), unexpected_(static_cast<size_t>(group.size())) {}

  // Both end with CommunicationError as a wait of the group does. A tensor of 64 KiB or more in HostMemory is read by its
  // receiver where it is, and Send waits for that; others are copied into the channel, which has 256 KiB.
  void Send(const at::Tensor& tensor, int to, int tag);
  // The oldest message of that rank and tag; others that come before it are kept. Fails where it has another size.
  void Receive(const at::Tensor& tensor, int from, int tag);

 private:
  struct Channel;
  struct Header {
    int64_t tag;
    int64_t bytes;
    int64_t offset;  // in the sender's HostMemory, where the receiver reads them; negative: they follow
  };
  struct Message {
    int64_t tag;
    at::Tensor bytes;
  };

  Channel& ChannelBetween(int from, int to) const;
  void Write(Channel& channel, int to, const char* from, int64_t bytes);
  void Read(Channel& channel, int from, char* to, int64_t bytes);
  void ReadBody(Channel& channel, int from, const Header& header, const at::Tensor& into);
  // Returns when `condition` holds, for which the peer notifies.
  template <class Condition>
  void AwaitPeer(Channel& channel, int peer, const Condition& condition);

  LocalGroup& group_;
  std::vector<std::deque<Message>> unexpected_;  // by sender
};

}  // namespace shardcts
