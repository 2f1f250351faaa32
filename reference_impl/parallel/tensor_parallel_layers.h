// The layers that tensor parallelism puts in the place of plain ones. Same parameter names, in the same order; the
// parameters are DTensors on the tensor-parallel mesh (parameter/dtensor_parameter.h), or whatever fully_shard puts
// into the slots for a forward: always this rank's tensor-parallel part.
//
// Semantics: torch.distributed.tensor.parallel.style (ColwiseParallel, RowwiseParallel, SequenceParallel, with their
// default layouts and local outputs).
#pragma once

#include <memory>

#include "models/module.h"
#include "tensor/device_mesh.h"

namespace shardcts::reference {

// Computes some of the output's features. Weight and bias Shard(0). Input: the whole, alike on all ranks. Output: this
// rank's part of the last dimension. *Collective* in backward.
class ColwiseLinear : public models::ModuleOf<ColwiseLinear> {
 public:
  // `plain`: a Linear whose parameters have the same values on all ranks or not: those of the mesh's first rank count.
  // *Collective* over the mesh.
  ColwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  at::Tensor Forward(at::Tensor input) override;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
};

// Computes all of the output from some of the input's features. Weight Shard(1), bias Replicate. Input: this rank's
// part of the last dimension. Output: the whole, alike on all ranks; each rank adds bias / ranks before the sum.
// *Collective* in forward.
class RowwiseLinear : public models::ModuleOf<RowwiseLinear> {
 public:
  RowwiseLinear(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);  // as ColwiseLinear
  at::Tensor Forward(at::Tensor input) override;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
};

// A layer that treats each position by itself (LayerNorm), on sequences of which each rank has a part (dim 1 of input
// and output). Parameters Replicate, each rank's own values, without communication. *Collective* in backward: a
// parameter's gradient is the sum over all positions.
class SequenceLayerNorm : public models::ModuleOf<SequenceLayerNorm> {
 public:
  SequenceLayerNorm(const models::Module& plain, std::shared_ptr<DeviceMesh> mesh);
  at::Tensor Forward(at::Tensor input) override;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
};

}  // namespace shardcts::reference
