// Plain data parallelism: every rank has the full model, gradients are averaged. Semantics:
// torch.nn.parallel.DistributedDataParallel, torch 2.13. Names do not contain the wrapper.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "models/module.h"

namespace shardcts::reference {

class DataParallel : public models::Module {
 public:
  // *Collective* over the group: parameters and buffers become those of its first rank. `is_module`: the user sees a
  // module around the wrapped one, as DistributedDataParallel is; replicate puts nothing around it.
  DataParallel(models::ModulePtr wrapped, std::shared_ptr<Communicator> group, bool is_module = true);

  bool IsTransparent() const override { return true; }
  bool is_module() const { return is_module_; }
  Communicator& group() const { return *group_; }
  models::ModulePtr ShallowCopy() const override;  // throws: it cannot be copied
  at::Tensor Forward(at::Tensor input) override { return ForwardAll({std::move(input)}); }
  // *Collective* over the group where there are buffers: they become those of its first rank. The backward that follows
  // is *Collective*, at its end.
  at::Tensor ForwardAll(std::vector<at::Tensor> inputs) override;

 private:
  void BroadcastBuffers();
  void AverageGradients();

  std::shared_ptr<Communicator> group_;
  std::shared_ptr<DataParallel*> self_;  // callbacks in backward hold it weakly: a graph may outlive the model
  bool is_module_;
  bool is_queued_ = false;
};

}  // namespace shardcts::reference
