// RankAgreement: before any rank gathers, the ranks tell each other what they have and whether they have failed.
// Without this, a rank that fails on its own state dict would leave its peers in a collective that it never enters.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "contract/value.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

class RankAgreement {
 public:
  // *Local*. Runs `prepare`, unless something has failed before; ThrowIfRefused rethrows its exception.
  template <class Prepare>
  void Try(const Prepare& prepare) {
    if (failure_ || peer_failure_) return;
    try {
      prepare();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  // *Collective* over the group. The `mine` of every rank of the group, in the group's order; none for a rank that has
  // failed. `mine` must not contain handles or ShardedTensors. A failure received from a peer is passed on in the next
  // exchange.
  std::vector<Value> Exchange(Communicator& group, const Value& mine);

  // *Collective* over these groups, with one exchange for each distinct group. Result i: the mine[i] of every rank of
  // groups[i], in the group's order.
  std::vector<std::vector<Value>> ExchangeInEach(const std::vector<Communicator*>& groups,
                                                 const std::vector<Value>& mine);

  // *Local*. Throws this rank's own failure, or a RuntimeError that contains a peer's.
  void ThrowIfRefused() const;
  bool refused() const { return failure_ || peer_failure_; }

 private:
  std::string Complaint(const Communicator& group) const;  // empty: none

  std::exception_ptr failure_;
  std::optional<std::string> peer_failure_;
};

// *Collective* over the group, nullptr: this rank alone. Every rank says a list of texts; throws what the agreement has
// refused or, on every rank, a RuntimeError that names the first text that not all ranks say. `what`: "options".
void AgreeOnTexts(Communicator* group, RankAgreement& agreement, const std::string& what,
                  const std::vector<std::string>& mine);

// What this rank has for one parameter.
struct EntryNote {
  std::string key;
  std::string what;                      // "(5, 4)"; empty: no entry
  std::optional<SemanticError> refusal;  // the entry cannot be gathered
};

// *Collective* over the group; every rank passes the same keys in the same order. Throws this rank's first refusal. A
// rank without one throws a RuntimeError that names key and ranks, if a peer refuses an entry or has something else for
// a key. PyTorch, which has no such exchange, hangs or gathers wrong data in these cases (docs/deviations.md).
void AgreeOnEntries(Communicator& group, const std::vector<EntryNote>& notes);

}  // namespace shardcts::reference
