// What the ranks of a unit tell each other about their state-dict entries before they gather them. Without this
// exchange, a rank whose state dict lacks an entry, or has one that cannot be used, would leave its peers in a
// collective that it never enters: PyTorch hangs in this case, or gathers wrong data (docs/deviations.md).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

// What this rank has for one parameter.
struct EntryNote {
  std::string key;
  std::string what;                      // "(5, 4)"; empty: no entry
  std::optional<SemanticError> refusal;  // the entry cannot be gathered
};

// *Collective* over the group; every rank passes the same keys in the same order. Throws this rank's first refusal. A
// rank without one throws a RuntimeError that names key and ranks, if a peer refuses an entry or has something else for
// a key.
void AgreeOnEntries(Communicator& group, const std::vector<EntryNote>& notes);

}  // namespace shardcts::reference
