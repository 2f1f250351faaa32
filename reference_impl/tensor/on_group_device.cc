#include "tensor/on_group_device.h"

#include <ATen/ATen.h>

#include "tensor/as_real.h"

namespace shardcts::reference {
namespace {

template <class Collective>
void OnDeviceOf(const Communicator& group, const at::Tensor& tensor, const Collective& collective) {
  if (tensor.device() == group.device()) return collective(tensor);
  const at::Tensor there = tensor.detach().to(group.device());
  collective(there);
  tensor.variable_data().copy_(there);
}

}  // namespace

void BroadcastValues(Communicator& group, const at::Tensor& tensor, int root) {
  OnDeviceOf(group, tensor, [&](const at::Tensor& there) {
    const at::Tensor contiguous = there.contiguous();
    group.Broadcast(contiguous, root);
    if (!contiguous.is_same(there)) there.variable_data().copy_(contiguous);
  });
}

void ReduceValues(Communicator& group, const at::Tensor& tensor, ReduceOp op) {
  OnDeviceOf(group, tensor, [&](const at::Tensor& there) { group.AllReduce(AsReal(there), op); });
}

}  // namespace shardcts::reference
