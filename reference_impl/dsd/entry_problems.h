// Before ranks load a model, each of its own values: what one of them alone finds wrong counts for all.
#pragma once

#include <map>
#include <string>

#include "agreement/rank_agreement.h"
#include "models/module.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {

struct EntryProblems {
  bool nothing_given = false;                    // all ranks' state dicts are empty
  std::map<std::string, std::string> of_peers;  // by name: what a peer cannot load, and this rank could
};

// *Collective* over the world, nullptr: this rank alone. Ranks say which of their entries have another shape than the
// model, are not tensors or, under strict, are missing. Throws what the agreement has refused. RuntimeError, on every
// rank: the entries would be redistributed in different ways, so that ranks would wait for each other.
EntryProblems AgreeOnModelEntries(models::Module& model, const StateDict& entries, bool strict, Communicator* world,
                                  RankAgreement& agreement);

}  // namespace shardcts::reference
