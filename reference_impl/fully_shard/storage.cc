#include "fully_shard/storage.h"

#include <ATen/ATen.h>
#include <ATen/native/Resize.h>
#include <c10/core/DeviceGuard.h>

namespace shardcts::reference {
namespace {

void Resize(const at::Tensor& tensor, size_t bytes) {
  if (StorageBytes(tensor) == bytes) return;
  if (tensor.is_cpu() || tensor.is_meta()) {
    at::native::resize_bytes_nocuda(tensor.storage(), static_cast<int64_t>(bytes));
    return;
  }
  c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  const c10::DeviceGuard guard(storage->device());
  storage->set_data_ptr_noswap(storage->allocator()->allocate(bytes));
  storage->set_nbytes(bytes);
}

}  // namespace

void AllocateStorage(const at::Tensor& tensor) { Resize(tensor, tensor.nbytes()); }
void FreeStorage(const at::Tensor& tensor) { Resize(tensor, 0); }
size_t StorageBytes(const at::Tensor& tensor) { return tensor.storage().nbytes(); }

}  // namespace shardcts::reference
