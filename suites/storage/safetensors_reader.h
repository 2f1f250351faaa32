// Files of the safetensors format, read without the implementation. Source: the format's description,
// https://huggingface.co/docs/safetensors/index#format; of shards: torch.distributed.checkpoint's HuggingFace storage.
// *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace shardcts::storage {

struct StoredPart {
  std::vector<int64_t> offsets;  // in the whole tensor
  at::Tensor tensor;
};

// What the file has, by name, and in `problems` what is wrong with it, a line each. A file that cannot be read has
// nothing.
std::map<std::string, StoredPart> ReadSafetensors(const std::string& path, std::vector<std::string>& problems);

// The tensors of all *.safetensors below the folder, put together. Problems also: elements that no file or several
// files have.
std::map<std::string, at::Tensor> ReadSafetensorsBelow(const std::string& folder, std::vector<std::string>& problems);

}  // namespace shardcts::storage
