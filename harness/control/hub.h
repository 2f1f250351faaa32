// ControlHub: the controller's side of the control sockets. It gathers what the ranks of one pool exchange, notifies
// them of peers that stop or are lost, and knows the operation of each rank. *Local*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/messages.h"

namespace shardcts {

// What the controller knows about a rank from its connection.
struct RankStanding {
  bool connected = false;
  bool left = false;                   // it has said farewell
  std::optional<std::string> lost;     // its connection ended otherwise: how
  std::string failure;                 // of ShardCTS itself, which the rank has told in place of a farewell
  int64_t pid = 0;
  std::string host;
  int64_t test = 0;                    // how many tests of the pool it has ended
  std::string operation;               // the last one that it began in this test; empty: none
  int64_t step = 0;                    // of it
  std::optional<Together> waits;       // it waits for its peers to do this collectively
  std::vector<std::string> errors;     // that operations of this test ended with on it, the first few
};

class ControlHub {
 public:
  struct Options {
    int world_size = 1;
    std::filesystem::path pool_folder;  // gets the file that ranks read
    bool other_hosts = false;           // ranks may be elsewhere: listens on TCP as well
    std::string tcp_host;               // where; empty: AddressOfThisHost()
  };

  // Listens, on a thread of its own, until it is destroyed. Throws InputError when it cannot.
  explicit ControlHub(const Options& options);
  ~ControlHub();
  ControlHub(const ControlHub&) = delete;
  ControlHub& operator=(const ControlHub&) = delete;

  // Readable when a rank has been lost since Standings() was called last; for poll.
  int news() const;

  std::vector<RankStanding> Standings();
  // Ranks whose connection ended without a farewell, in this order; those of one list ended before the hub looked again.
  std::vector<std::vector<int>> Lost() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

// The operation of each rank and the errors on it, on one line: "rank 0 in model.forward (step 3), ranks 1, 2 wait for
// their peers at the end of the test; rank 1 raised RuntimeError: … in model.forward (step 3)". Empty when no rank has
// begun anything.
std::string DescribeStandings(const std::vector<RankStanding>& standings);

}  // namespace shardcts
