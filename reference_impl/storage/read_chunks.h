// Reading parts of saved chunks. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "storage/files.h"
#include "storage/manifest.h"
#include "storage/pieces.h"

namespace shardcts::reference {

// The files of one save, opened when they are first needed.
class SavedFiles {
 public:
  SavedFiles(Files& files, const std::string& path, const Manifest& manifest);
  // RuntimeError: its size is not the one that the manifest says.
  const ReadableFile& Get(const std::string& name);
  std::string PathOf(const std::string& name) const { return path_ + "/" + Below(name); }

 private:
  std::string Below(const std::string& name) const;
  Files& files_;
  std::string path_;
  const Manifest& manifest_;
  std::map<std::string, std::unique_ptr<ReadableFile>> opened_;
};

// RuntimeError, naming key and file: the bytes of the chunk have another digest than they had.
void CheckDigest(SavedFiles& files, const std::string& name, const SavedChunk& chunk);

// Fills the pieces with what the chunks have of them. The dtype of the pieces holds all values of the saved one's.
// Where a piece's memory is in the order of the file the bytes go straight into it.
void ReadInto(SavedFiles& files, const SavedTensor& saved, const std::vector<Piece>& pieces);

// The whole tensor, on the CPU. RuntimeError as CheckDigest. Chunks whose memory is in one piece are read once, and
// their digests are those of the memory.
at::Tensor ReadWholeTensor(SavedFiles& files, const std::string& name, const SavedTensor& saved);

// The chunks that the pieces need anything of.
std::vector<const SavedChunk*> NeededChunks(const SavedTensor& saved, const std::vector<Piece>& pieces);

}  // namespace shardcts::reference
