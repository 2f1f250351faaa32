// The messages between ranks and controller on the control sockets, and their frames. *Local*.
//
// A frame is its length (4 bytes, little-endian), then the message: one byte for its type, then its fields. Numbers
// have 8 bytes, little-endian; texts their length, then their bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

namespace shardcts {

inline constexpr uint32_t kMaxFrameBytes = uint32_t{1} << 28;
inline constexpr uint32_t kMaxHelloBytes = 4096;  // of a frame before the other side has given the token
inline constexpr size_t kMaxNoteBytes = 400;      // of an error's text
inline constexpr size_t kReadBytes = 1 << 16;     // of one call

// Bytes that are no message of this protocol.
class ProtocolViolation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// --- sent by ranks ---

// The first message. `rank`: its number, or -1 for the next one that is free.
struct Hello {
  std::string token;
  int64_t rank = -1;
  int64_t pid = 0;
  std::string host;
  static auto Fields(auto& self) { return std::tie(self.token, self.rank, self.pid, self.host); }
};

// What a rank is about to do collectively.
enum class Together : int64_t {
  kOperation = 1,   // call a collective operation
  kEnd = 2,         // end the test, or a part of it that some ranks run
  kAllGather = 3,   // exchange values of the test
  kSubgroup = 4,    // continue on a subgroup of the ranks
  kRendezvous = 5,  // make a communicator
};

struct Contribution {
  Together what = Together::kOperation;
  std::string operation;  // its name; empty: none
  int64_t step = 0;
  std::string bytes;
  static auto Fields(auto& self) { return std::tie(self.what, self.operation, self.step, self.bytes); }
};

// Waits for the answer: what each of `ranks` (ascending; empty: all) has contributed.
struct Exchange {
  std::vector<int64_t> ranks;
  Contribution mine;
  static auto Fields(auto& self) { return std::tie(self.ranks, self.mine); }
};

// The rank begins an operation without its peers.
struct Position {
  std::string operation;
  int64_t step = 0;
  static auto Fields(auto& self) { return std::tie(self.operation, self.step); }
};

// An operation of the rank ended with an error.
struct RaisedError {
  std::string operation;
  int64_t step = 0;
  std::string text;
  static auto Fields(auto& self) { return std::tie(self.operation, self.step, self.text); }
};

// The rank has ended this test (by number) after a failure and will not answer its peers.
struct StopNotice {
  int64_t test = 0;
  static auto Fields(auto& self) { return std::tie(self.test); }
};

// The rank ends its connection intentionally.
struct Farewell {
  std::string failure;  // of ShardCTS itself, for which the rank cannot go on; empty: none, it is done
  static auto Fields(auto& self) { return std::tie(self.failure); }
};

// --- sent by the hub ---

struct Welcome {
  int64_t rank = 0;
  int64_t world_size = 1;
  static auto Fields(auto& self) { return std::tie(self.rank, self.world_size); }
};

struct Refusal {
  std::string reason;
  static auto Fields(auto& self) { return std::tie(self.reason); }
};

// One for each rank of an exchange, in the order of the ranks.
struct Gathered {
  Contribution theirs;
  static auto Fields(auto& self) { return std::tie(self.theirs); }
};

struct PeerStop {
  int64_t rank = 0;
  int64_t test = 0;
  static auto Fields(auto& self) { return std::tie(self.rank, self.test); }
};

// The connection of a rank has ended.
struct PeerGone {
  int64_t rank = 0;
  std::string how;
  static auto Fields(auto& self) { return std::tie(self.rank, self.how); }
};

using Message = std::variant<Hello, Exchange, Position, RaisedError, StopNotice, Farewell, Welcome, Refusal, Gathered,
                             PeerStop, PeerGone>;

// The complete frame. Throws ProtocolViolation when it is longer than kMaxFrameBytes.
std::string ToFrame(const Message& message);

// Takes frames out of a stream of bytes.
class FrameReader {
 public:
  void Append(const char* bytes, size_t count) { buffer_.append(bytes, count); }
  // The next message; nullopt: it is not complete yet. Throws ProtocolViolation.
  std::optional<Message> Next(uint32_t max_bytes);
  bool empty() const { return begin_ == buffer_.size(); }

 private:
  std::string buffer_;
  size_t begin_ = 0;
};

}  // namespace shardcts
