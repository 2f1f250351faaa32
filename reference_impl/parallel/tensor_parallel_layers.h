// The layers that replace plain layers under tensor parallelism. They have the same parameter names in the same order.
// The parameters are DTensors on the tensor-parallel mesh (parameter/dtensor_parameter.h) or, during a forward under
// fully_shard, the tensors that it puts into the slots; in both cases this rank's tensor-parallel shard.
//
// Semantics: torch.distributed.tensor.parallel.style (ColwiseParallel, RowwiseParallel, SequenceParallel, with their
// default layouts and local outputs).
#pragma once

#include <memory>

#include "models/module.h"
#include "tensor/device_mesh.h"

namespace shardcts::reference {

// Computes some of the output's features. Weight and bias Shard(0). Input: full, the same on all ranks. Output: this
// rank's chunk of the last dimension. *Collective* in backward.
class ColwiseLinear : public models::ModuleOf<ColwiseLinear> {
 public:
  // `plain`: a Linear. Its parameters may differ between ranks; the values of the mesh's first rank are used.
  // *Collective* over the mesh.
  ColwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  at::Tensor Forward(at::Tensor input) override;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
};

// Computes the full output from some of the input's features. Weight Shard(1), bias Replicate. Input: this rank's chunk
// of the last dimension. Output: full, the same on all ranks; each rank adds bias / ranks before the sum. *Collective*
// in forward.
class RowwiseLinear : public models::ModuleOf<RowwiseLinear> {
 public:
  RowwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);  // as ColwiseLinear
  at::Tensor Forward(at::Tensor input) override;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
};

// A layer that processes each position independently (LayerNorm), on sequences of which each rank has a chunk
// (dimension 1 of input and output). Parameters Replicate with each rank's own values, without communication.
// *Collective* in backward: the gradient of a parameter is the sum over all positions.
class SequenceLayerNorm : public models::ModuleOf<SequenceLayerNorm> {
 public:
  SequenceLayerNorm(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  at::Tensor Forward(at::Tensor input) override;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
};

}  // namespace shardcts::reference
