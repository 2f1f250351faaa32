// A model's state dict that only rank 0 has, made available on all ranks. Semantics: _broadcast_state_dict in
// torch/distributed/_state_dict_utils.py, torch 2.13.
#pragma once

#include "agreement/rank_agreement.h"
#include "comm/communicator.h"
#include "contract/value.h"
#include "state_dict/state_dict.h"

namespace shardcts::reference {

// *Collective*. Names, shapes, and all values that are not tensors with dimensions are sent at once. The others are
// sent one by one, when WholeTensor::fetch is called, which is *Collective*. `state_dict` is read on rank 0 and must
// outlive the result there. RuntimeError, on all ranks: rank 0 has a DTensor or a ShardedTensor. Also throws what the
// agreement has refused before.
StateDict ReceiveFromRank0(const Dict& state_dict, Communicator& world, RankAgreement& agreement);

}  // namespace shardcts::reference
