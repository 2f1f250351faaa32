#include <ATen/ATen.h>

#include "contract/tensor_bytes.h"
#include "storage/dcp_checkpoint.h"
#include "storage/dcp_metadata.h"
#include "storage/torch_item.h"

namespace shardcts::reference {
namespace {

// The file of a rank, as it grows.
class DcpFile {
 public:
  DcpFile(Files& files, const std::string& folder, std::string name)
      : name_(std::move(name)), file_(files.Create(folder + "/" + name_)) {}

  void Add(const std::string& name, const Box& box, const at::Tensor& tensor) {
    const at::Tensor contiguous = ContiguousOnCpu(tensor.resolve_conj().resolve_neg());
    const int64_t begin = size_;
    size_ += WriteTensorItem(*file_, contiguous);
    chunks_.push_back(
        List{name, ToValue(box.offsets), ToValue(box.sizes), begin, size_, ChunkDigest(BytesView(contiguous))});
  }
  void Add(const std::string& name, const Value& value) {
    const int64_t begin = size_;
    size_ += WriteValueItem(*file_, value);
    values_.push_back(List{name, name_, begin, size_});
  }
  // [file, bytes, [[name, offsets, sizes, begin, end, digest], …]]
  Value Finish() {
    file_->Finish();
    return List{name_, size_, chunks_};
  }
  const List& values() const { return values_; }

 private:
  const std::string name_;
  std::unique_ptr<WritableFile> file_;
  int64_t size_ = 0;
  List chunks_;
  List values_;  // [name, file, begin, end]
};

bool Writes(const PlannedEntry& planned, int64_t rank) {
  if (!planned.entry.is_tensor) return planned.owner == rank;
  return std::ranges::any_of(planned.chunks, [&](const PlannedChunk& chunk) { return chunk.writer == rank; });
}

}  // namespace

Value WriteDcpPart(Files& files, const std::string& folder, const std::vector<PlannedEntry>& plan, int64_t rank,
                   const HeldState& state) {
  const auto writes = [&](const PlannedEntry& planned) { return Writes(planned, rank); };
  if (std::ranges::none_of(plan, writes)) return Dict{{"files", List{}}, {"items", List{}}};
  DcpFile file(files, folder, "__" + std::to_string(rank) + "_0.distcp");
  for (const PlannedEntry& planned : plan) {
    const std::string& name = planned.entry.name;
    try {
      if (!planned.entry.is_tensor && planned.owner == rank) file.Add(name, state.values.at(name));
      for (const PlannedChunk& chunk : planned.chunks) {
        if (chunk.writer != rank) continue;
        const HeldTensor& held = state.tensors.at(name);
        const auto piece = std::ranges::find(held.pieces, chunk.box, &Piece::box);
        const bool is_held = piece != held.pieces.end();  // else it has no elements
        file.Add(name, chunk.box, is_held ? piece->tensor : at::empty(chunk.box.sizes, held.dtype));
      }
    } catch (const SemanticError& error) {
      if (error.kind() == "OSError") throw;
      throw SemanticError(error.kind(), "\"" + name + "\": " + error.what());
    }
  }
  const Value written = file.Finish();
  files.SyncFolder(folder);
  return Dict{{"files", List{written}}, {"items", file.values()}};
}

std::string MakeDcpMetadata(const std::string& folder, const std::vector<PlannedEntry>& plan,
                            const std::vector<Value>& parts) {
  DcpMetadata metadata;
  for (const PlannedEntry& planned : plan) {
    const SaveNote& note = planned.entry;
    if (note.is_tensor && planned.chunks.empty()) continue;  // of a mesh that no rank of the group is in
    DcpEntry entry{note.is_tensor, note.path, note.dtype, note.shape, {}};
    for (const PlannedChunk& chunk : planned.chunks) entry.chunks.push_back(chunk.box);
    metadata.order.push_back(note.name);
    metadata.entries[note.name] = std::move(entry);
  }
  for (const Value& part : parts) {
    for (const Value& file : part.AsDict().At("files").AsList()) {
      for (const Value& item : file.AsList().at(2).AsList()) {
        const List& fields = item.AsList();
        metadata.places[{fields.at(0).AsString(), fields.at(1).AsInts()}] = {
            folder + "/" + file.AsList().at(0).AsString(), {fields.at(3).AsInt(), fields.at(4).AsInt()}};
      }
    }
    for (const Value& item : part.AsDict().At("items").AsList()) {
      const List& fields = item.AsList();
      metadata.places[{fields.at(0).AsString(), std::nullopt}] = {folder + "/" + fields.at(1).AsString(),
                                                                  {fields.at(2).AsInt(), fields.at(3).AsInt()}};
    }
  }
  return ToPickle(metadata);
}

}  // namespace shardcts::reference
