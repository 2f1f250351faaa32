// The layers that replace plain layers under tensor parallelism. They have the same parameter names in the same order.
// The parameters are DTensors on the tensor-parallel mesh (parameter/dtensor_parameter.h) or, during a forward under
// fully_shard, the tensors that it puts into the slots; in both cases this rank's tensor-parallel shard.
//
// Semantics: torch.distributed.tensor.parallel.style (ColwiseParallel, RowwiseParallel, SequenceParallel, with their
// default layouts and local outputs).
#pragma once

#include <memory>

#include "models/module.h"
#include "models/tree.h"
#include "tensor/device_mesh.h"

namespace shardcts::reference {

// What all of them have in common. Buffers, extra state and the user's hooks are those of the plain layer.
class ParallelLayer : public models::Module, public models::CountsHooks {
 public:
  bool HasExtraState() const override { return plain_->HasExtraState(); }
  Value ExtraState() override { return plain_->ExtraState(); }
  void SetExtraState(Value state) override;
  void OnUserEvent(models::UserEvent event, const std::string& prefix) override { plain_->OnUserEvent(event, prefix); }
  std::vector<models::Named<std::vector<std::string>>> HookRuns() const override;

 protected:
  ParallelLayer(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  ParallelLayer(const ParallelLayer& other);

  const DeviceMesh& mesh() const { return *mesh_; }
  Communicator& group() const { return mesh_->group(0); }
  at::Tensor BiasOrNone() const;
  // Does nothing where the layer has no such parameter. *Collective* over the mesh.
  void Distribute(const std::string& name, const Placement& placement);
  // Each rank keeps its own values.
  void Replicate(const std::string& name);

 private:
  std::shared_ptr<DeviceMesh> mesh_;
  models::ModulePtr plain_;  // without its parameters
};

// Computes some of the output's features. Weight and bias Shard(0). Input: full, the same on all ranks. Output: this
// rank's chunk of the last dimension. *Collective* in backward.
class ColwiseLinear : public ParallelLayer {
 public:
  // `plain`: a Linear. Its parameters may differ between ranks; the values of the mesh's first rank are used.
  // *Collective* over the mesh.
  ColwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  at::Tensor Forward(at::Tensor input) override;
  models::ModulePtr ShallowCopy() const override;
};

// Computes the full output from some of the input's features. Weight Shard(1), bias Replicate. Input: this rank's chunk
// of the last dimension. Output: full, the same on all ranks; each rank adds bias / ranks before the sum. *Collective*
// in forward.
class RowwiseLinear : public ParallelLayer {
 public:
  RowwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);  // as ColwiseLinear
  at::Tensor Forward(at::Tensor input) override;
  models::ModulePtr ShallowCopy() const override;
};

// A layer that processes each position independently (LayerNorm), on sequences of which each rank has a chunk
// (dimension 1 of input and output). Parameters Replicate with each rank's own values, without communication.
// *Collective* in backward: the gradient of a parameter is the sum over all positions.
class SequenceLayerNorm : public ParallelLayer {
 public:
  SequenceLayerNorm(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  at::Tensor Forward(at::Tensor input) override;
  models::ModulePtr ShallowCopy() const override;
};

}  // namespace shardcts::reference
