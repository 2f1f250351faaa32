// Files of the safetensors format, read and written without the implementation. Source: the format's description,
// https://huggingface.co/docs/safetensors/index#format; of shards: torch.distributed.checkpoint's HuggingFace storage.
// *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "contract/value.h"

namespace shardcts::storage {

// Says in which file of a folder each tensor is.
constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";

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

// A file with these tensors; its folder is made.
void WriteSafetensors(const std::string& path, const Dict& tensors);
// model.safetensors in the folder, and its index.
void WriteIndexedSafetensors(const std::string& folder, const Dict& tensors);

}  // namespace shardcts::storage
