#include "comm/local/point_to_point.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "comm/communicator.h"
#include "comm/copy_bytes.h"
#include "comm/local/event.h"
#include "comm/local/host_memory.h"
#include "comm/local/kept_tensors.h"
#include "comm/tensor_bytes.h"

namespace shardcts {
namespace {

constexpr int64_t kDataBytes = 256 << 10;

}  // namespace

// In shared memory: a circular buffer of bytes with one writer and one reader.
struct PointToPoint::Channel {
  Event event;  // any of what follows has changed
  alignas(64) std::atomic<int64_t> written;
  alignas(64) std::atomic<int64_t> read;
  alignas(64) std::atomic<int64_t> sent;   // messages whose bytes the receiver reads in the sender's HostMemory;
  alignas(64) std::atomic<int64_t> taken;  // those of them that it has read
  alignas(64) char data[kDataBytes];
};

PointToPoint::Channel& PointToPoint::ChannelBetween(int from, int to) const {
  static_assert(sizeof(Channel) <= LocalGroup::kChannelBytes);
  return *reinterpret_cast<Channel*>(group_.ChannelMemory(from, to));
}

template <class Condition>
void PointToPoint::AwaitPeer(Channel& channel, int peer, const Condition& condition) {
  group_.Await(channel.event, [&](int rank) { return rank != peer || condition(); });
}

void PointToPoint::Write(Channel& channel, int to, const char* from, int64_t bytes) {
  while (bytes > 0) {
    const int64_t begin = channel.written.load();
    const auto room = [&] { return kDataBytes - (begin - channel.read.load()); };
    AwaitPeer(channel, to, [&] { return room() > 0; });
    const int64_t count = std::min({bytes, room(), kDataBytes - begin % kDataBytes});
    std::memcpy(channel.data + begin % kDataBytes, from, static_cast<size_t>(count));
    channel.written.store(begin + count);
    channel.event.Notify();
    from += count;
    bytes -= count;
  }
}

void PointToPoint::Read(Channel& channel, int from, char* to, int64_t bytes) {
  while (bytes > 0) {
    const int64_t begin = channel.read.load();
    const auto there = [&] { return channel.written.load() - begin; };
    AwaitPeer(channel, from, [&] { return there() > 0; });
    const int64_t count = std::min({bytes, there(), kDataBytes - begin % kDataBytes});
    std::memcpy(to, channel.data + begin % kDataBytes, static_cast<size_t>(count));
    channel.read.store(begin + count);
    channel.event.Notify();
    to += count;
    bytes -= count;
  }
}

void PointToPoint::Send(const at::Tensor& tensor, int to, int tag) {
  Channel& channel = ChannelBetween(group_.rank(), to);
  const auto* data = static_cast<const char*>(tensor.const_data_ptr());
  const int64_t bytes = NumBytes(tensor);
  std::optional<int64_t> offset;
  if (group_.peers()->has_host_memory() && bytes > 0) offset = HostMemory::OfThisProcess()->OffsetOf(data, bytes);
  const Header header{tag, bytes, offset.value_or(-1)};
  Write(channel, to, reinterpret_cast<const char*>(&header), sizeof(header));
  if (!offset) return Write(channel, to, data, bytes);
  const int64_t number = channel.sent.load() + 1;
  channel.sent.store(number);
  try {
    AwaitPeer(channel, to, [&] { return channel.taken.load() >= number; });
  } catch (const CommunicationError&) {
    KeepForever({tensor});  // the peer may still read it
    throw;
  }
}

void PointToPoint::ReadBody(Channel& channel, int from, const Header& header, const at::Tensor& into) {
  auto* to = static_cast<char*>(into.mutable_data_ptr());
  if (header.offset < 0) return Read(channel, from, to, header.bytes);
  CopyBytes(to, group_.HostMemoryOf(from) + header.offset, header.bytes);
  channel.taken.fetch_add(1);
  channel.event.Notify();
}

void PointToPoint::Receive(const at::Tensor& tensor, int from, int tag) {
  const auto check = [&](int64_t bytes) {
    if (bytes == NumBytes(tensor)) return;
    group_.Fail("got " + std::to_string(bytes) + " bytes for a tensor of " + std::to_string(NumBytes(tensor)));
  };
  std::deque<Message>& kept = unexpected_[static_cast<size_t>(from)];
  const auto found = std::ranges::find(kept, tag, &Message::tag);
  if (found != kept.end()) {
    check(found->bytes.numel());
    CopyBytes(static_cast<char*>(tensor.mutable_data_ptr()), static_cast<const char*>(found->bytes.const_data_ptr()),
              found->bytes.numel());
    kept.erase(found);
    return;
  }
  Channel& channel = ChannelBetween(from, group_.rank());
  for (;;) {
    Header header = {};
    Read(channel, from, reinterpret_cast<char*>(&header), sizeof(header));
    if (header.tag == tag) {
      check(header.bytes);
      return ReadBody(channel, from, header, tensor);
    }
    kept.push_back({header.tag, at::empty({header.bytes}, at::kByte)});
    ReadBody(channel, from, header, kept.back().bytes);
  }
}

}  // namespace shardcts
