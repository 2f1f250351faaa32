// Names of PyTorch's dtypes as pickles have them. *Local*.
#pragma once

#include <c10/core/ScalarType.h>

#include <span>
#include <string_view>

namespace shardcts::reference {

struct TorchDtype {
  at::ScalarType dtype;
  std::string_view name;     // "torch float32"
  std::string_view storage;  // "torch FloatStorage"; "": such tensors have a torch.storage.UntypedStorage
};

// All that a checkpoint may have.
std::span<const TorchDtype> TorchDtypes();
// nullptr: none of these.
const TorchDtype* DtypeOfName(std::string_view name);
const TorchDtype* DtypeOfStorage(std::string_view storage);
const TorchDtype* NamesOf(at::ScalarType dtype);

}  // namespace shardcts::reference
