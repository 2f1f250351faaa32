// What the ranks of a unit tell each other about their entries before they gather them. Without it a rank whose dict
// lacks an entry, or holds one that is of no use, leaves its peers in a collective that it never enters: PyTorch hangs
// there, or gathers something else (docs/deviations.md).
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

// *Collective* over the group; every rank gives the same keys in the same order. Throws this rank's first refusal. Else
// RuntimeError, naming key and ranks, on every rank whose peer refuses an entry or has something else for a key.
void AgreeOnEntries(Communicator& group, const std::vector<EntryNote>& notes);

}  // namespace shardcts::reference
