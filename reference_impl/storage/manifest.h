// The manifest of a checkpoint, `checkpoint.json`: what has been saved and where it is. It is read as a text that nobody
// vouches for. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage/flat_state.h"
#include "storage/layout.h"

namespace shardcts::reference {

inline constexpr const char* kManifestName = "checkpoint.json";

// Where the elements are among those that are stored.
struct StoredView {
  int64_t first = 0;             // element
  std::vector<int64_t> strides;  // elements; of each dimension
};

struct SavedChunk {
  Box box;
  std::string file;  // in the save's folder
  int64_t begin = 0;  // bytes from the beginning of the file
  int64_t end = 0;
  std::string digest;  // ChunkDigest of these bytes; "": nobody has made it
  uint32_t crc = 0;    // Crc32 of these bytes; 0: nobody has made it
  std::optional<StoredView> view;  // absent: they are those of the box, in its order
};

struct SavedTensor {
  Path path;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  std::vector<SavedChunk> chunks;  // tile the shape; in the order of their offsets
};

struct SavedValue {
  Path path;
  Value value;
};

struct Manifest {
  std::string folder;                    // of this save, below the checkpoint's; IsSaveFolder, or "" for that itself
  std::string identity;                  // another one after every save; "": nobody knows
  std::map<std::string, int64_t> files;  // name -> bytes
  std::vector<std::string> order;        // the flat names as they were saved
  std::map<std::string, SavedTensor> tensors;
  std::map<std::string, SavedValue> values;
  int64_t version = 0;                   // of the format; 0: it has none, being read from files of another program
};

// That ToText writes.
inline constexpr int64_t kManifestVersion = 1;

// "save-" and 16 hexadecimal digits.
bool IsSaveFolder(const std::string& name);

// ValueError: a name or a text in a value that is not UTF-8.
std::string ToText(const Manifest& manifest);

// RuntimeError naming the place: no manifest, another version, a key twice, a folder or file that is not a plain name,
// chunks that do not tile their tensor or leave their file, sizes that fit nothing, values with tensors in them.
Manifest ManifestFrom(const std::string& text, const std::string& file_name);

// XXH3's 128 bits over the bytes; beyond kDigestBlock bytes over the digests of the blocks, so that a reader needs no
// more memory than a block.
inline constexpr int64_t kDigestBlock = int64_t{8} << 20;
std::string ChunkDigest(std::string_view bytes);

}  // namespace shardcts::reference
