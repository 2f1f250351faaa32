// The wrapper of torch.compile without a compiler: the module runs unchanged, and names and state dicts do not contain
// the wrapper. Everything here is *Local*, unless units (FSDP) inside communicate.
#pragma once

#include <vector>

#include "models/module.h"

namespace shardcts::reference {

constexpr char kCompileChild[] = "_orig_mod";

class CompileWrapper : public models::ModuleOf<CompileWrapper> {
 public:
  explicit CompileWrapper(models::ModulePtr wrapped) : ModuleOf("OptimizedModule") {
    RegisterChild(kCompileChild, std::move(wrapped));
  }
  bool IsTransparent() const override { return true; }
  at::Tensor Forward(at::Tensor input) override { return ForwardAll({std::move(input)}); }
  at::Tensor ForwardAll(std::vector<at::Tensor> inputs) override {
    return children().front().second->CallAll(std::move(inputs));
  }
};

}  // namespace shardcts::reference
