// Connected sockets between all ranks of a group of processes on one machine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

namespace shardcts::nccl_emulator {

// A message to or from one peer; a group of size() of them makes a collective.
struct Message {
  int peer = 0;
  char* data = nullptr;
  size_t bytes = 0;
};

// Sockets in Linux' abstract namespace: no file is left behind. Used by one thread; everything that waits ends soon
// after `stopped` is set.
class PeerSockets {
 public:
  // `name` is the same on all ranks of the group, and no other group's.
  PeerSockets(std::string name, int rank, int size, const std::atomic<bool>& stopped);
  ~PeerSockets();
  PeerSockets(const PeerSockets&) = delete;
  PeerSockets& operator=(const PeerSockets&) = delete;

  // *Collective*. False when stopped. Throws std::runtime_error when the system refuses.
  bool Connect();

  // Sends and receives all messages, in each direction between two ranks in the order given; messages to oneself as
  // well. False when stopped: also a peer that is gone is waited for. Throws std::runtime_error when a message comes
  // that belongs to another `operation` or has another size.
  bool Exchange(uint32_t operation, const std::vector<Message>& sends, const std::vector<Message>& receives);

 private:
  struct Header {
    uint32_t operation;
    uint32_t unused;
    uint64_t bytes;
  };
  struct Transfer {
    Header header;  // to send, or as received
    char* data;
    Header expected;  // of this rank's own call
    size_t done = 0;  // of header and data

    // Where the next bytes come from or go to, up to the end of header or data.
    std::span<char> Next();
    bool complete() const { return done == sizeof(Header) + expected.bytes; }
  };
  struct Peer {
    int socket = -1;
    std::deque<Transfer> sends, receives;
  };

  bool ConnectTo(int peer);
  bool Accept(int listener);
  // Lets each open socket with work to do go on once, after at most 10 ms.
  void Poll();
  void SendSome(Peer& peer);
  void ReceiveSome(int rank, Peer& peer);
  static void CheckHeader(int rank, const Transfer& transfer);

  std::string name_;
  int rank_;
  int size_;
  const std::atomic<bool>& stopped_;
  std::vector<Peer> peers_;
};

}  // namespace shardcts::nccl_emulator
