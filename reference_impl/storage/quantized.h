// Weights that another program has stored in blocks, with a factor for each. *Local*.
// Semantics: torch.distributed.checkpoint.quantized_hf_storage, for matrices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/manifest.h"
#include "storage/pieces.h"
#include "storage/read_chunks.h"

namespace shardcts::reference {

// Of NAME.weight: NAME.weight_scale_inv. "": of another name, or the checkpoint has no such tensor.
std::string FactorsOf(const Manifest& manifest, const std::string& name);

// Fills the pieces with the weight's elements, each multiplied by the factor of its block of `block_size` rows and
// columns. ValueError: the weight is no matrix, or has another number of blocks than there are factors.
// RuntimeError: as CheckDigest, of the factors.
void ReadQuantizedInto(SavedFiles& files, const Manifest& manifest, const std::string& name, int64_t block_size,
                       const std::vector<Piece>& pieces);

}  // namespace shardcts::reference
