// The tensors of an optimizer state dict that is to be loaded, wherever they are: full on this rank, sharded over all
// ranks, or on the first rank only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fsdp_optim/model_parameters.h"
#include "agreement/rank_agreement.h"

namespace shardcts::reference {

// A state that is sharded like its parameter: a tensor with dimensions, a ShardedTensor or a DTensor.
struct TensorOutline {
  std::vector<int64_t> shape;
  at::ScalarType dtype = at::kFloat;
};
// *Local*. nullopt: the value is something else.
std::optional<TensorOutline> OutlineOf(const Value& value);
bool IsDistributed(const Value& value);

// One tensor with dimensions in the state dict.
struct IncomingTensor {
  Key parameter;  // key of `state`
  Key name;       // of the state
  Value value;
};

// The state dict of the group's first rank on all its ranks, and its tensors in the same order everywhere. On the other
// ranks the tensors with dimensions are on the meta device.
struct ReceivedState {
  Dict state_dict;
  std::vector<IncomingTensor> tensors;
};
// *Collective* over the group. `given` is read on the first rank only, where it must not be null.
ReceivedState ReceiveFromFirst(const Dict* given, Communicator& group, RankAgreement& agreement);

// *Local*. RuntimeError: shards that are not those of this rank of this unit.
void CheckPieces(const IncomingTensor& tensor, const UnitMembers& unit);
// *Local*. This rank's chunk along dimension 0, if the shards are such chunks over the shard group in its order, as
// saved; nullopt: they are different, or the tensor is full.
std::optional<at::Tensor> ChunkIn(const Value& value, const UnitMembers& unit);
// The full tensor. *Collective* over the unit's shard group if it is sharded, *Local* otherwise.
at::Tensor Gathered(const Value& value, const UnitMembers& unit);
// *Collective* over the group: what its first rank has, on the group's device.
at::Tensor Broadcast(const Value& value, Communicator& group);

}  // namespace shardcts::reference
