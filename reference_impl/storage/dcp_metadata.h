// `.metadata` of torch.distributed.checkpoint: what a checkpoint has and where it is, one pickle. It is read as data,
// whatever it names (pickle.h). *Local*.
//
// Source: torch/distributed/checkpoint/metadata.py, filesystem.py (_StorageInfo), default_planner.py (planner_data).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/flat_state.h"
#include "storage/layout.h"
#include "storage/zip_item.h"

namespace shardcts::reference {

inline constexpr const char* kDcpMetadataName = ".metadata";
inline constexpr int64_t kMaxDcpMetadataBytes = int64_t{512} << 20;

struct DcpEntry {
  bool is_tensor = false;
  Path path;  // the name alone where the file does not say
  at::ScalarType dtype = at::kFloat;  // of a tensor, as all below
  std::vector<int64_t> shape;
  std::vector<Box> chunks;  // as they are in the file
};

// Where an item is: of a tensor's chunk with these offsets, or of a plain value.
struct DcpPlace {
  std::string file;  // relative to the checkpoint's folder
  FileRange range;   // not checked
};

struct DcpMetadata {
  std::string version;             // "": the file does not say
  std::vector<std::string> order;  // the names as they are in the file
  std::map<std::string, DcpEntry> entries;
  std::map<std::pair<std::string, std::optional<std::vector<int64_t>>>, DcpPlace> places;
};

// RuntimeError naming the place in the file: not such a pickle, another version, a name, an offset or a key twice,
// negative numbers, values of other types, dtypes that are unknown, items that are stored through a transform. Chunks
// and places may be anything.
DcpMetadata ReadDcpMetadata(std::string_view bytes, const std::string& file_name);

// The file that torch.distributed.checkpoint reads.
std::string ToPickle(const DcpMetadata& metadata);

// Whether a relative path stays in its folder: plain names, separated by slashes.
bool IsPlainPath(const std::string& path);

}  // namespace shardcts::reference
