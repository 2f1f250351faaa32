// Files of the safetensors format: tensors with names, nothing else. *Local*.
//
// A file is an unsigned 64-bit little-endian length, a JSON header of that length, and the data. The header has for each
// name dtype, shape, and where its bytes begin and end in the data; "__metadata__" has texts. Source: the format's
// description, https://huggingface.co/docs/safetensors/index#format. A file with part of each tensor says in
// DCP_SHARDING_INFO where each part lies: torch.distributed.checkpoint._hf_utils.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage/files.h"
#include "storage/layout.h"

namespace shardcts::reference {

// The format's name; nullopt: it has none for this dtype.
std::optional<std::string> SafetensorsDtype(at::ScalarType dtype);
// The other way round.
std::optional<at::ScalarType> DtypeOfSafetensors(const std::string& name);

// One chunk that is to be written, or was.
struct FileChunk {
  std::string name;
  Box box;
  at::ScalarType dtype = at::kFloat;
  int64_t begin = 0;  // bytes from the beginning of the file
  int64_t end = 0;
};

// How a file with these chunks, of different names, is laid out: sets begin and end, and returns header and length
// field. Without holes; in descending order of the size of an element, so that all are aligned to it.
// ValueError: a name that the format reserves, or that is not UTF-8. Dtypes without a name are written as bytes (U8),
// with one dimension more.
std::string LayOut(std::vector<FileChunk>& chunks);

// What the header of a file says, all of it checked: offsets tile the data, sizes fit shape and dtype.
struct SafetensorsEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> saved_offsets;  // zeros where the file does not say
  int64_t begin = 0;                   // bytes from the beginning of the file
  int64_t end = 0;
};
// RuntimeError: not such a file, naming what is wrong and where. Allocates no more than the header has bytes, times a
// constant.
std::map<std::string, SafetensorsEntry> ReadSafetensorsHeader(const ReadableFile& file, const std::string& file_name);

}  // namespace shardcts::reference
