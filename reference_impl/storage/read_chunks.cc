#include "storage/read_chunks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "contract/tensor_bytes.h"
#include "storage/crc32.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr int64_t kShortRun = 4096;               // bytes; runs that are shorter are read together
constexpr int64_t kLongestSpan = int64_t{64} << 20;

std::vector<Box> BoxesOf(const std::vector<SavedChunk>& chunks) {
  std::vector<Box> boxes;
  for (const SavedChunk& chunk : chunks) boxes.push_back(chunk.box);
  return boxes;
}

std::vector<Box> BoxesOf(const std::vector<Piece>& pieces) {
  std::vector<Box> boxes;
  for (const Piece& piece : pieces) boxes.push_back(piece.box);
  return boxes;
}

// Where the elements of a part of a chunk are in the chunk's memory: runs of equal length, in ascending order.
struct Runs {
  std::vector<int64_t> begins;  // elements
  int64_t length = 1;           // elements
};

Runs RunsOf(const Box& chunk, const Box& part) {
  const size_t dims = part.sizes.size();
  std::vector<int64_t> strides(dims, 1);
  for (size_t dim = dims; dim-- > 1;) strides[dim - 1] = strides[dim] * chunk.sizes[dim];
  Runs runs{{0}, 1};
  size_t inner = dims;  // dimensions from here on are in one run
  while (inner > 0 && (inner == dims || part.sizes[inner] == chunk.sizes[inner])) runs.length *= part.sizes[--inner];
  for (size_t dim = 0; dim < dims; ++dim) {
    const int64_t first = part.offsets[dim] - chunk.offsets[dim];
    std::vector<int64_t> next;
    for (int64_t begin : runs.begins) {
      for (int64_t i = 0; i < (dim < inner ? part.sizes[dim] : 1); ++i) next.push_back(begin + (first + i) * strides[dim]);
    }
    runs.begins = std::move(next);
  }
  return runs;
}

// The part, contiguous, into `target`.
void ReadPart(const ReadableFile& file, const SavedChunk& chunk, const Box& part, int64_t element, char* target) {
  const Runs runs = RunsOf(chunk.box, part);
  const int64_t run_bytes = runs.length * element;
  const int64_t span = (runs.begins.back() - runs.begins.front()) * element + run_bytes;
  const auto run_target = [&](size_t i) { return target + static_cast<int64_t>(i) * run_bytes; };
  const bool together = runs.begins.size() > 1 && run_bytes < kShortRun && span <= kLongestSpan;
  if (!together) {
    for (size_t i = 0; i < runs.begins.size(); ++i) {
      file.ReadAt(chunk.begin + runs.begins[i] * element, {run_target(i), static_cast<size_t>(run_bytes)});
    }
    return;
  }
  std::string bytes(static_cast<size_t>(span), '\0');
  file.ReadAt(chunk.begin + runs.begins.front() * element, bytes);
  for (size_t i = 0; i < runs.begins.size(); ++i) {
    const int64_t begin = (runs.begins[i] - runs.begins.front()) * element;
    std::memcpy(run_target(i), bytes.data() + begin, static_cast<size_t>(run_bytes));
  }
}

// The part of what `box` has.
at::Tensor Narrowed(at::Tensor tensor, const Box& box, const Box& part) {
  for (size_t dim = 0; dim < part.sizes.size(); ++dim) {
    tensor = tensor.narrow(static_cast<int64_t>(dim), part.offsets[dim] - box.offsets[dim], part.sizes[dim]);
  }
  return tensor;
}

[[noreturn]] void FailForBytes(const SavedFiles& files, const std::string& name, const SavedChunk& chunk) {
  throw SemanticError("RuntimeError", "\"" + name + "\": the bytes of chunk " + BoxText(chunk.box) + " in " +
                                          files.PathOf(chunk.file) + " are not those that were saved");
}

// Of a chunk whose elements are not in the order of its box.
at::Tensor ReadView(const ReadableFile& file, const SavedChunk& chunk, const Box& part, at::ScalarType dtype) {
  const int64_t count = (chunk.end - chunk.begin) / static_cast<int64_t>(c10::elementSize(dtype));
  at::Tensor stored = at::empty({count}, at::TensorOptions().dtype(dtype).device(at::kCPU));
  file.ReadAt(chunk.begin, {static_cast<char*>(stored.mutable_data_ptr()), stored.nbytes()});
  return Narrowed(stored.as_strided(chunk.box.sizes, chunk.view->strides, chunk.view->first), chunk.box, part);
}

}  // namespace

SavedFiles::SavedFiles(Files& files, const std::string& path, const Manifest& manifest)
    : files_(files), path_(path), manifest_(manifest) {}

std::string SavedFiles::Below(const std::string& name) const {
  return manifest_.folder.empty() ? name : manifest_.folder + "/" + name;
}

const ReadableFile& SavedFiles::Get(const std::string& name) {
  std::unique_ptr<ReadableFile>& file = opened_[name];
  if (file) return *file;
  std::unique_ptr<ReadableFile> opened = files_.OpenBelow(path_, Below(name));
  const int64_t expected = manifest_.files.at(name);
  if (opened->size() != expected) {
    throw SemanticError("RuntimeError", PathOf(name) + ": has " + std::to_string(opened->size()) + " bytes, " +
                                            std::to_string(expected) + " were saved");
  }
  file = std::move(opened);
  return *file;
}

void CheckDigest(SavedFiles& files, const std::string& name, const SavedChunk& chunk) {
  const ReadableFile& file = files.Get(chunk.file);
  if (chunk.digest.empty() && chunk.crc == 0) return;
  const int64_t size = chunk.end - chunk.begin;
  std::string block(static_cast<size_t>(std::min(size, kDigestBlock)), '\0');
  std::string digests;
  uint32_t crc = 0;
  for (int64_t begin = 0; begin < size || begin == 0; begin += kDigestBlock) {
    const std::span<char> part(block.data(), static_cast<size_t>(std::min(size - begin, kDigestBlock)));
    file.ReadAt(chunk.begin + begin, part);
    if (chunk.digest.empty()) {
      crc = Crc32({part.data(), part.size()}, crc);
    } else {
      digests += Digest({part.data(), part.size()});
    }
  }
  const std::string digest = size <= kDigestBlock ? digests : Digest(digests);
  if (chunk.digest.empty() ? crc != chunk.crc : digest != chunk.digest) FailForBytes(files, name, chunk);
}

at::Tensor ReadWholeTensor(SavedFiles& files, const std::string& name, const SavedTensor& saved) {
  at::Tensor whole = at::empty(saved.shape, at::TensorOptions().dtype(saved.dtype).device(at::kCPU));
  for (const SavedChunk& chunk : saved.chunks) {
    const at::Tensor part = Narrowed(whole, WholeBox(saved.shape), chunk.box);
    if (chunk.view || !part.is_contiguous()) {
      CheckDigest(files, name, chunk);
      ReadInto(files, {saved.path, saved.dtype, saved.shape, {chunk}}, {{chunk.box, part}});
      continue;
    }
    const std::span<char> memory(static_cast<char*>(part.mutable_data_ptr()), part.nbytes());
    files.Get(chunk.file).ReadAt(chunk.begin, memory);
    const std::string_view bytes(memory.data(), memory.size());
    const bool is_saved = chunk.digest.empty() ? chunk.crc == 0 || Crc32(bytes) == chunk.crc
                                               : ChunkDigest(bytes) == chunk.digest;
    if (!is_saved) FailForBytes(files, name, chunk);
  }
  return whole;
}

std::vector<const SavedChunk*> NeededChunks(const SavedTensor& saved, const std::vector<Piece>& pieces) {
  std::set<size_t> indices;
  for (const Read& read : PlanReads(BoxesOf(saved.chunks), BoxesOf(pieces))) indices.insert(read.saved);
  std::vector<const SavedChunk*> needed;
  for (size_t i : indices) needed.push_back(&saved.chunks[i]);
  return needed;
}

void ReadInto(SavedFiles& files, const SavedTensor& saved, const std::vector<Piece>& pieces) {
  const at::NoGradGuard no_grad;
  const int64_t element = static_cast<int64_t>(c10::elementSize(saved.dtype));
  for (const Read& read : PlanReads(BoxesOf(saved.chunks), BoxesOf(pieces))) {
    const SavedChunk& chunk = saved.chunks[read.saved];
    at::Tensor destination = Narrowed(pieces[read.wanted].tensor, pieces[read.wanted].box, read.box);
    if (chunk.view) {
      destination.copy_(ReadView(files.Get(chunk.file), chunk, read.box, saved.dtype));
      continue;
    }
    const bool straight = destination.is_contiguous() && destination.is_cpu() && !destination.is_conj() &&
                          !destination.is_neg() && destination.scalar_type() == saved.dtype;
    at::Tensor target =
        straight ? destination : at::empty(read.box.sizes, at::TensorOptions().dtype(saved.dtype).device(at::kCPU));
    ReadPart(files.Get(chunk.file), chunk, read.box, element, static_cast<char*>(target.mutable_data_ptr()));
    if (!straight) destination.copy_(target);
  }
}

}  // namespace shardcts::reference
