// ControlPlane: how the ranks of a pool keep in step.
//
// Before every collective operation, and at the end of every test, all ranks exchange one small message over a
// communicator of their own. So no rank enters a collective of the implementation that a peer will not enter: a peer
// that failed makes the others stop the test (PeerStopped), ranks that ask for different operations are Diverged. The
// pool survives both.
//
// A rank that fails inside a collective operation, where its peers are as well and wait for it, rings them (RingPeers).
// Waits of the implementation's communicator listen (StopOfAPeer, given to Communicator::AbortWhen), end, and the pool
// survives this too. An implementation that brings its own communication does not hear it.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
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

  // *Collective* over the pool. What every rank of the test gives, by rank. Throws as BeforeCollective.
  std::vector<std::string> AllGather(const std::string& bytes);

  // *Collective* over the pool. Runs `body` on the given ranks only; until it ends, collective operations are those of
  // these ranks among themselves.
  void Among(const std::vector<int64_t>& ranks, const std::function<void()>& body);

  bool among() const { return active_ != &communicator_; }

  // Local. This rank ends the running test after a failure and will not answer its peers.
  void RingPeers();
  // Local. For a wait of the running test: the text with which it has to end because a peer has rung, and the wait has
  // not ended by itself within 100 ms.
  std::optional<std::string> StopOfAPeer();
  // Local. The text with which StopOfAPeer has ended a wait of the running test, whose failure then follows from the
  // peer's; empty: it has not.
  const std::string& stopped_by() const { return stopped_by_; }

  // *Collective* over the pool, at the end of a test; never throws for a peer's failure. Returns when all are here:
  // whether any rank says that its communicator for the implementation is broken.
  bool EndOfTest(bool failed, bool broken);

 private:
  struct Message {
    int64_t kind;       // kOperation, kEnd
    int64_t operation;  // index
    int64_t step;
    int64_t failed;
    int64_t broken;
  };
  std::vector<Message> Exchange(const Message& mine);
  // Returns when all active ranks are here.
  std::vector<Message> ExchangeEnd(bool failed, bool broken);

  Communicator& communicator_;
  Communicator* active_;  // communicator_, or that of the ranks in Among
  std::chrono::seconds patience_;
  int64_t test_ = 0;  // how many tests the pool has ended; the same on all ranks
  std::string stopped_by_;
  std::optional<int64_t> ring_;  // the latest, for this test or one before
  std::chrono::steady_clock::time_point heard_;
};

}  // namespace shardcts
