// What a rank that starts warm and the warm process say to each other over a Unix socket (docs/design.md, "Warm
// start"). *Local*; Linux.
//
// The asking process (shardcts-start-rank, one for each rank) sends one WarmRequest together with its open file
// descriptors. The answer is one message, "started PID" or "refused REASON"; after "started" comes "ended STATUS" when
// the rank has ended (waitpid's form). A connection that closes before it ends the rank.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace shardcts {

// Names the socket to the ranks. The socket is abstract: it is no file, and ranks on another host or in another network
// namespace do not see it.
inline constexpr const char* kWarmSocketName = "SHARDCTS_WARM_SOCKET";

// An open file descriptor with one owner.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  int number() const { return number_; }

 private:
  int number_;
};

struct WarmRequest {
  std::vector<std::string> words;        // program (absolute path), arguments
  std::vector<std::string> environment;  // NAME=VALUE
  std::vector<std::string> place;        // DescribePlace() of the asking process
  uint64_t ignored_signals = 0;          // bit S - 1 for signal S
  uint64_t blocked_signals = 0;
  std::vector<int> descriptors;  // their numbers in the asking process
};

// What a process inherits and a fork of another one would not have: namespaces, cgroup, limits, identity, processors,
// current folder. One line each, "NAME VALUE". Ranks are forked only for processes in the same place.
std::vector<std::string> DescribePlace();

// The request of this process: its environment, place, signals and all open descriptors but `socket`.
WarmRequest RequestOfThisProcess(std::vector<std::string> words, int socket);

// Connects to, or listens at, the abstract socket `name`. Both throw std::runtime_error; Connect also when the other
// side belongs to another user. Sockets wait at most `patience` for a single read or write.
Descriptor Connect(const std::string& name, std::chrono::milliseconds patience);
Descriptor Listen(const std::string& name);
void SetPatience(int socket, std::chrono::milliseconds patience);  // 0: no limit
bool PeerIsThisUser(int socket);

// Whole messages. Throw std::runtime_error when the connection fails, is too slow, or does not follow the protocol.
void SendRequest(int socket, const WarmRequest& request);
// The descriptors in the order of request.descriptors, under new numbers of at least `lowest`.
std::pair<WarmRequest, std::vector<Descriptor>> ReceiveRequest(int socket, int lowest);
void SendText(int socket, const std::string& text);
std::optional<std::string> ReceiveText(int socket);  // nullopt: the other side has closed the connection

}  // namespace shardcts
