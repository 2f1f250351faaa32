// ControlPlane: how the ranks of a pool keep in step.
//
// Before every collective operation, and at the end of every test, all ranks exchange one small message over a
// communicator of their own. So no rank enters a collective of the implementation that a peer will not enter: a peer
// that failed makes the others stop the test (PeerStopped), ranks that ask for different operations are Diverged. The
// pool survives both.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace shardcts {

class Communicator;

// A peer has ended the test after a failure.
class PeerStopped : public std::exception {
 public:
  explicit PeerStopped(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// The ranks asked for different operations.
class Diverged : public std::exception {
 public:
  explicit Diverged(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

class ControlPlane {
 public:
  // `communicator` is used by nobody else. `patience`: how long to wait for a peer before CommunicationError; the
  // launcher's deadline per test is shorter and ends the pool.
  ControlPlane(Communicator& communicator, std::chrono::seconds patience);

  // *Collective* over the pool. All ranks must be about to run the same operation (an index of Operations()).
  // Returns the step number that all ranks continue with: the largest that any rank proposes.
  // Throws PeerStopped or Diverged on every rank that came here when not all did.
  int64_t BeforeCollective(int64_t operation_index, int64_t proposed_step);

  // *Collective* over the pool, at the end of a test; never throws for a peer's failure. Returns when all are here.
  void EndOfTest(bool failed);

 private:
  struct Message {
    int64_t kind;       // kOperation, kEnd
    int64_t operation;  // index
    int64_t step;
    int64_t failed;
  };
  std::vector<Message> Exchange(const Message& mine);

  Communicator& communicator_;
  std::chrono::seconds patience_;
};

}  // namespace shardcts
