#include "storage/stage.h"

#include <ATen/ATen.h>

#include <map>

#include "tensor/sharded_tensor.h"

namespace shardcts::reference {
namespace {

class Stager {
 public:
  at::Tensor Copy(const at::Tensor& tensor) {
    if (tensor.is_meta() || !tensor.has_storage()) return tensor.detach().clone();
    const at::Tensor source = tensor.detach();
    at::Tensor& bytes = copies_[source.storage().unsafeGetStorageImpl()];
    if (!bytes.defined()) {
      const auto size = static_cast<int64_t>(source.storage().nbytes());
      at::Tensor all = at::empty({0}, source.options().dtype(at::kByte));
      all.set_(source.storage(), 0, {size}, {1});
      bytes = all.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
    }
    at::Tensor copy = at::empty({0}, source.options().device(at::kCPU));
    copy.set_(bytes.storage(), source.storage_offset(), source.sizes(), source.strides());
    if (source.is_conj()) copy = copy.conj();
    return source.is_neg() ? at::_neg_view(copy) : copy;
  }

  Value Copy(const Value& value) {
    if (const auto* plain = value.TryAs<Tensor>()) {
      Tensor copy = *plain;
      copy.data = Copy(plain->data);
      return copy;
    }
    if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
      shardcts::DTensor copy = *distributed;
      copy.local = Copy(distributed->local);
      return copy;
    }
    if (const auto* sharded = value.TryAs<ShardedTensor>()) {
      return WithLocalTensors(*sharded, [this](const at::Tensor& local) { return Copy(local); });
    }
    if (const Dict* dict = value.TryAs<Dict>()) return Copy(*dict);
    if (const List* list = value.TryAs<List>()) {
      List copy;
      for (const Value& item : *list) copy.push_back(Copy(item));
      return copy;
    }
    return value;
  }

  Dict Copy(const Dict& dict) {
    Dict copy;
    for (const auto& [key, value] : dict) copy.Set(key, Copy(value));
    return copy;
  }

 private:
  std::map<const c10::StorageImpl*, at::Tensor> copies_;
};

}  // namespace

Dict StageState(const Dict& state_dict) { return Stager().Copy(state_dict); }

}  // namespace shardcts::reference
