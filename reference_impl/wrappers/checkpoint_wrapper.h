// Activation checkpointing: a wrapper whose forward saves only its inputs, and is repeated in backward. Semantics:
// torch/distributed/algorithms/_checkpoint/checkpoint_wrapper.py, torch 2.13. State dicts and names do not contain it.
// Everything here is *Local*, unless units (FSDP) inside communicate.
#pragma once

#include <string>
#include <vector>

#include "models/module.h"

namespace shardcts::reference {

constexpr char kCheckpointChild[] = "_checkpoint_wrapped_module";

// Gradients are those of the wrapped module. Random draws are not repeated: a module that draws (dropout in training)
// gets other numbers when it runs again.
class CheckpointWrapper : public models::ModuleOf<CheckpointWrapper> {
 public:
  explicit CheckpointWrapper(models::ModulePtr wrapped);
  bool IsTransparent() const override { return true; }
  at::Tensor Forward(at::Tensor input) override { return ForwardAll({std::move(input)}); }
  at::Tensor ForwardAll(std::vector<at::Tensor> inputs) override;
};

}  // namespace shardcts::reference
