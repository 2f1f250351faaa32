#include "fully_shard/collectives.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "tensor/as_real.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// A tensor without elements cannot be viewed in another dtype (its stride need not be divisible).
at::Tensor ViewedAs(at::ScalarType dtype, const at::Tensor& tensor) {
  return tensor.numel() > 0 ? tensor.view(dtype) : at::empty({0}, tensor.options().dtype(dtype));
}

at::Tensor GatherRows(const at::Tensor& row, const DataParallelMesh& mesh) {
  at::Tensor rows = at::empty({mesh.shard_count(), row.numel()}, row.options());
  if (row.numel() == 0) return rows;
  if (mesh.shard_count() == 1) return rows.copy_(row.unsqueeze(0));
  mesh.shard_group().AllGatherInto(rows.view({-1}), row);
  return rows;
}

// Turns a sum over N ranks into an average without overflow: float16 is divided by about sqrt(N) before and after it.
struct AverageBy {
  ReduceOp op = ReduceOp::kAvg;
  double before = 1;
  double after = 1;
};

AverageBy ChooseAverage(const DataParallelMesh& mesh, at::ScalarType dtype) {
  if (dtype == at::kFloat || dtype == at::kBFloat16) return {};
  const int64_t ranks = mesh.mesh()->layout().Size();
  int64_t before = 1;
  while (ranks % before == 0 && ranks / before > before) before *= 2;
  return {ReduceOp::kSum, static_cast<double>(before), static_cast<double>(ranks) / before};
}

void DivideBy(at::Tensor& tensor, double divisor) {
  if (divisor != 1) tensor.div_(divisor);
}

// `rows`: (S, n), one row for each rank of the shard group. Returns this rank's n averaged elements.
at::Tensor ReduceRows(at::Tensor& rows, const DataParallelMesh& mesh) {
  const AverageBy average = ChooseAverage(mesh, rows.scalar_type());
  at::Tensor reduced = at::empty({rows.size(1)}, rows.options());
  if (reduced.numel() == 0) return reduced;
  DivideBy(rows, average.before);
  if (mesh.shard_count() == 1) {
    reduced.copy_(rows.select(0, 0));
  } else {
    mesh.shard_group().ReduceScatter(AsReal(reduced), AsReal(rows.view({-1})), average.op);
  }
  if (mesh.replicates() && mesh.replicate_group().size() > 1) mesh.replicate_group().AllReduce(AsReal(reduced), average.op);
  DivideBy(reduced, average.after);
  return reduced;
}

}  // namespace

void AllGatherParameters(const std::vector<std::unique_ptr<ShardedParameter>>& parameters,
                         const DataParallelMesh& mesh) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> inputs;
  // As bytes, so that parameters of different dtypes are gathered together.
  std::vector<at::Tensor> bytes;
  for (const auto& parameter : parameters) {
    inputs.push_back(parameter->AllGatherInput());
    bytes.push_back(ViewedAs(at::kByte, inputs.back()));
  }
  const at::Tensor rows = GatherRows(at::cat(bytes), mesh);
  int64_t offset = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    // A copy, because a dtype's elements must be aligned.
    const at::Tensor chunks = rows.narrow(1, offset, bytes[i].numel()).clone(at::MemoryFormat::Contiguous);
    parameters[i]->FillUnsharded(ViewedAs(inputs[i].scalar_type(), chunks));
    offset += bytes[i].numel();
  }
}

void ReduceGradients(const std::vector<GradientOf>& gradients, const DataParallelMesh& mesh,
                     std::optional<at::ScalarType> reduce_dtype) {
  if (gradients.empty()) return;
  at::NoGradGuard no_grad;
  const at::ScalarType dtype = gradients.front().gradient.scalar_type();
  int64_t row_numel = 0;
  for (const GradientOf& entry : gradients) {
    if (entry.gradient.scalar_type() != dtype) {
      throw SemanticError("AssertionError", "FSDP reduce-scatter expects uniform gradient dtype");
    }
    row_numel += entry.parameter->padded_numel();
  }
  at::Tensor rows = at::empty({mesh.shard_count(), row_numel},
                              gradients.front().gradient.options().dtype(reduce_dtype.value_or(dtype)));
  int64_t offset = 0;
  for (const GradientOf& entry : gradients) {
    entry.parameter->SplitGradient(entry.gradient, rows.narrow(1, offset, entry.parameter->padded_numel()));
    offset += entry.parameter->padded_numel();
  }
  const at::Tensor reduced = ReduceRows(rows, mesh).to(gradients.front().parameter->original_dtype());
  offset = 0;
  for (const GradientOf& entry : gradients) {
    entry.parameter->AddShardedGradient(reduced.narrow(0, offset, entry.parameter->padded_numel()));
    offset += entry.parameter->padded_numel();
  }
}

}  // namespace shardcts::reference
