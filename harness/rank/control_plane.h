// ControlPlane: keeps the ranks of a pool in step.
//
// Before every collective operation, and at the end of every test, all ranks exchange one small message through the
// controller (control/connection.h). So no rank enters a collective of the implementation that a peer will not enter: a
// peer that failed makes the others stop the test (PeerStopped), ranks that ask for different operations are Diverged.
// The pool survives both.
//
// A rank that fails inside a collective operation, in which its peers wait, notifies them
// (NotifyPeersOfStop). Waits of the implementation's communicator check for it (StopOfAPeer, given to
// Communicator::AbortWhen) and end, and the pool survives this too. An implementation with its own communication does
// not see the notification.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/rendezvous.h"
#include "control/messages.h"

namespace shardcts {

class ControlConnection;

// A peer has ended the test after a failure, or is gone, or the controller is.
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

// Also the rendezvous of the ranks of a communicator.
class ControlPlane : public Rendezvous {
 public:
  // Nothing else uses the connection.
  explicit ControlPlane(ControlConnection& connection);
  // Of a rank without peers and controller, for tests.
  ControlPlane();

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  // *Collective* over the pool. All ranks must be about to run the same operation.
  // Returns the step number that all ranks continue with: the largest that any rank proposes.
  // Throws PeerStopped or Diverged on every rank that came here when not all did.
  int64_t BeforeCollective(const std::string& operation, int64_t proposed_step);

  // *Collective* over the pool. What every rank of the test gives, by rank. Throws as BeforeCollective.
  std::vector<std::string> AllGatherInTest(const std::string& bytes);

  // *Collective* over the pool, between tests. Throws CommunicationError.
  std::vector<std::string> AllGather(const std::string& bytes) override;

  // *Collective* over the pool. Runs `body` on the given ranks only; until it ends, collective operations are those of
  // this subgroup.
  void Among(const std::vector<int64_t>& ranks, const std::function<void()>& body);

  bool among() const { return !active_.empty(); }

  // Local. Tell the controller about a local operation, and about an error.
  void TellOperation(std::string_view operation, int64_t step);
  void TellError(std::string_view operation, int64_t step, const std::string& text);

  // Local. This rank ends the running test after a failure and will not answer its peers.
  void NotifyPeersOfStop();
  // Local. For a wait of the running test: the text with which it has to end because a peer is gone, or has stopped and
  // the wait has not ended by itself within 100 ms.
  std::optional<std::string> StopOfAPeer();
  // Local. The text with which StopOfAPeer has ended a wait of the running test, whose failure then follows from the
  // peer's; empty: it has not.
  const std::string& stopped_by() const { return stopped_by_; }
  // Local. A rank of the pool or the controller is gone: there is no next test.
  bool must_leave() const;
  // Local. This rank cannot say any more how its test has ended.
  bool controller_is_gone() const { return controller_is_gone_; }

  // *Collective* over the pool, at the end of a test; never throws for a peer's failure. Returns when all are here:
  // whether any rank says that its communicator for the implementation is broken. Throws PeerStopped when one is gone,
  // or the controller.
  bool EndOfTest(bool failed, bool broken);

 private:
  // Throws PeerStopped when the test cannot continue.
  std::vector<Contribution> Exchange(Contribution mine);
  // As BeforeCollective, for any collective step.
  std::vector<Contribution> ComeTogether(Contribution mine);
  // Returns when all active ranks are here.
  std::vector<Contribution> ExchangeEnd(bool failed, bool broken);

  ControlConnection* const connection_;  // nullptr: no peers
  const int rank_, size_;
  std::vector<int64_t> active_;  // the ranks in Among, ascending; empty: all
  int64_t test_ = 0;             // how many tests the pool has ended; the same on all ranks
  std::string stopped_by_;
  bool controller_is_gone_ = false;
  std::optional<std::chrono::steady_clock::time_point> heard_;  // when a stop of the running test was seen first
  std::chrono::steady_clock::time_point looked_;                // for one, last
};

}  // namespace shardcts
