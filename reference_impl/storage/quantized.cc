#include "storage/quantized.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "contract/tensor_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// Of each element of the box the factor of its block.
at::Tensor FactorsOfElements(const at::Tensor& factors, const Box& box, int64_t block_size) {
  at::Tensor spread = factors.to(at::kFloat);
  for (int64_t dim = 0; dim < 2; ++dim) {
    const int64_t offset = box.offsets[static_cast<size_t>(dim)], size = box.sizes[static_cast<size_t>(dim)];
    const at::Tensor blocks = at::arange(offset, offset + size, at::kLong).floor_divide(block_size);
    spread = spread.index_select(dim, blocks);
  }
  return spread;
}

void CheckBlocks(const std::string& name, const SavedTensor& weight, const SavedTensor& factors, int64_t block_size) {
  const auto blocks = [&](int64_t size) { return (size + block_size - 1) / block_size; };
  const bool fits = weight.shape.size() == 2 && factors.shape.size() == 2 &&
                    factors.shape[0] == blocks(weight.shape[0]) && factors.shape[1] == blocks(weight.shape[1]);
  if (fits) return;
  throw SemanticError("ValueError", "\"" + name + "\": a weight of " + ShapeToString(weight.shape) + " has no blocks of " +
                                        std::to_string(block_size) + " for factors of " + ShapeToString(factors.shape));
}

}  // namespace

std::string FactorsOf(const Manifest& manifest, const std::string& name) {
  const std::string factors = name + "_scale_inv";
  return name.ends_with(".weight") && manifest.tensors.contains(factors) ? factors : "";
}

void ReadQuantizedInto(SavedFiles& files, const Manifest& manifest, const std::string& name, int64_t block_size,
                       const std::vector<Piece>& pieces) {
  const at::NoGradGuard no_grad;
  const std::string factors_name = FactorsOf(manifest, name);
  const SavedTensor &weight = manifest.tensors.at(name), &saved_factors = manifest.tensors.at(factors_name);
  CheckBlocks(name, weight, saved_factors, block_size);
  const at::Tensor factors = ReadWholeTensor(files, factors_name, saved_factors);
  for (const Piece& piece : pieces) {
    const at::Tensor stored = at::empty(piece.box.sizes, at::TensorOptions().dtype(weight.dtype));
    ReadInto(files, weight, {{piece.box, stored}});
    piece.tensor.copy_(stored.to(at::kFloat) * FactorsOfElements(factors, piece.box, block_size));
  }
}

}  // namespace shardcts::reference
