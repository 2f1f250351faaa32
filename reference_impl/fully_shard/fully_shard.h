// fully_shard: shards the parameters of a module tree over a data-parallel mesh, in place.
// Semantics: torch.distributed.fsdp.fully_shard and FSDPModule, torch 2.13.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "fully_shard/options.h"
#include "models/module.h"

namespace shardcts::reference {

// *Collective* over options.mesh in the sense that every rank calls it on the same model. It does not communicate: each
// rank keeps its shard of the values that it has. Call it bottom-up: it takes all parameters below `module` that no
// earlier call on a module below has taken. Parameters move to the mesh's device, meta parameters stay on the meta
// device; buffers move and stay plain tensors. Parameters that are DTensors already (tensor parallel) are sharded
// further.
// ValueError: a container without forward, a mesh that is neither 1-D nor 2-D, a parameter without dimensions.
// AssertionError: applied twice. Also throws what ShardedParameter throws.
void FullyShard(models::Module& module, const FullyShardOptions& options);

// *Local*. To be called where a forward of `root` has ended with an exception: what it was computing with is resharded,
// and the next forward begins anew.
void AbandonForward(models::Module& root);

// *Local*. Replaces every parameter, its gradient and every buffer below `root` by the result of `change` (of a
// DTensor: its local part), as moving a model to another device does; parameter objects keep their identity. Works on
// plain modules too. Where fully_shard was applied, the sharded forms are registered first and padded again afterwards.
// Source: torch.nn.Module._apply, FSDPModule._apply.
void ApplyToTensors(models::Module& root, const std::function<at::Tensor(const at::Tensor&)>& change);

}  // namespace shardcts::reference
