#include "storage/convert.h"

#include <ATen/ATen.h>
#include <ATen/MemoryOverlap.h>

#include <map>

#include "contract/tensor_bytes.h"
#include "storage/checkpoint.h"
#include "storage/dtype_fit.h"
#include "storage/flat_state.h"
#include "storage/one_rank.h"
#include "storage/pieces.h"
#include "storage/together.h"
#include "storage/torch_file.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

struct FilePart {
  at::Tensor target;
  at::Tensor source;
};

// Folders are checkpoints.
bool IsFile(Files& files, const std::string& path) {
  try {
    files.Open(path);
    return true;
  } catch (const SemanticError&) {
    return false;
  }
}

at::Tensor PartOfWhole(at::Tensor whole, const Box& box) {
  for (size_t dim = 0; dim < box.sizes.size(); ++dim) {
    whole = whole.narrow(static_cast<int64_t>(dim), box.offsets[dim], box.sizes[dim]);
  }
  return whole;
}

void AddParts(std::vector<FilePart>& parts, const FlatEntry& entry, const Value* found, int64_t rank) {
  const auto fail = [&](const std::string& problem) {
    throw SemanticError("RuntimeError", "\"" + entry.name + "\": " + problem);
  };
  if (!found) fail("the file has no such name");
  if (!IsTensorValue(entry.value) || !IsTensorValue(*found)) fail("only tensors can be loaded from a file");
  const HeldTensor held = HeldBy(rank, entry.value);
  const at::Tensor& whole = found->AsTensor();
  if (whole.sizes() != at::IntArrayRef(held.shape)) {
    fail("the saved tensor is " + ShapeToString(whole.sizes()) + ", the given one " + ShapeToString(held.shape));
  }
  if (!FitsInto(whole.scalar_type(), held.dtype)) {
    fail("the saved " + DtypeName(whole.scalar_type()) + " does not fit into " + DtypeName(held.dtype));
  }
  for (const Piece& piece : held.pieces) {
    if (piece.tensor.numel() > 1 && at::has_internal_overlap(piece.tensor) == at::MemOverlap::Yes) {
      fail("the given tensor has elements that share memory");
    }
    parts.push_back({piece.tensor, PartOfWhole(whole, piece.box)});
  }
}

}  // namespace

void ConvertCheckpoint(Files& files, int64_t rank, const std::string& source, const std::string& target,
                       TargetFormat format) {
  Dict state;
  Alone([&] { state = IsFile(files, source) ? ReadTorchFile(files, source) : ReadCheckpoint(files, source, {}); });
  if (format == TargetFormat::kTorchFile) return Alone([&] { WriteTorchFile(files, target, state); });
  OneRank alone(rank);
  SaveCheckpoint(alone, files, state, {.path = target, .tensors_only = format == TargetFormat::kSafetensors});
}

Dict LoadTorchFile(Communicator& group, Files& files, const Dict& state_dict, const std::string& path) {
  std::vector<FilePart> parts;
  Together(group, [&]() -> Value {
    std::map<std::string, Value> whole;
    for (FlatEntry& entry : Flatten(ReadTorchFile(files, path))) whole[entry.name] = std::move(entry.value);
    const int64_t rank = group.global_ranks()[static_cast<size_t>(group.rank())];
    for (const FlatEntry& entry : Flatten(state_dict)) {
      const auto found = whole.find(entry.name);
      AddParts(parts, entry, found == whole.end() ? nullptr : &found->second, rank);
    }
    return {};
  });
  for (const FilePart& part : parts) part.target.copy_(part.source);
  return state_dict;
}

}  // namespace shardcts::reference
