// While it lives, this thread runs device code: PyTorch's kernels for the CPU on aliases and copies, without autograd and
// unseen by whoever watches dispatch (modes, fake tensors).
#pragma once

#include <c10/core/DispatchKeySet.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace shardcts::hostdev {

class DeviceCode {
 private:
  c10::NoGradGuard no_gradient_;
  c10::impl::ExcludeDispatchKeyGuard unseen_{
      c10::autograd_dispatch_keyset_with_ADInplaceOrView | c10::python_ks |
      c10::DispatchKeySet({c10::DispatchKey::PythonTLSSnapshot, c10::DispatchKey::Functionalize})};
};

}  // namespace shardcts::hostdev
