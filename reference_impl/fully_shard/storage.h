// Freeing the memory of a tensor while tensors that alias it stay alive. All functions are *Local*.
//
// Autograd saves references to the unsharded parameters in forward. So these are created once; resharding frees their
// memory, and unsharding allocates it again and fills it in place.
#pragma once

#include <ATen/core/Tensor.h>

namespace shardcts::reference {

// Makes the storage as large as the (contiguous, offset 0) tensor needs; its content is undefined afterwards.
void AllocateStorage(const at::Tensor& tensor);
// Frees the memory of the storage: 0 bytes remain. Sizes and aliases stay.
void FreeStorage(const at::Tensor& tensor);
size_t StorageBytes(const at::Tensor& tensor);

}  // namespace shardcts::reference
