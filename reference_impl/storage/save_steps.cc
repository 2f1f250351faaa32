#include "storage/save_steps.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "contract/tensor_bytes.h"
#include "serialization/value_bytes.h"
#include "storage/checkpoint.h"
#include "storage/dcp_checkpoint.h"
#include "storage/dcp_metadata.h"
#include "storage/safetensors.h"
#include "storage/together.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

std::string NewFolderName() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::random_device source;
  std::string name = "save-";
  for (int i = 0; i < 16; ++i) name += kDigits[source() % 16];
  return name;
}

std::string FileName(int64_t rank, size_t index, size_t count) {
  const auto digits = [](size_t number) {
    const std::string text = std::to_string(number);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  return "shard-" + digits(static_cast<size_t>(rank) + 1) + "-model-" + digits(index + 1) + "-of-" + digits(count) +
         ".safetensors";
}

HeldState Hold(const Dict& state_dict, int64_t rank, const SaveSettings& settings) {
  HeldState state;
  for (FlatEntry& entry : Flatten(state_dict)) {
    SaveNote note{.name = entry.name, .path = entry.path, .is_tensor = IsTensorValue(entry.value)};
    if (!note.is_tensor) {
      if (settings.tensors_only) throw SemanticError("ValueError", "\"" + entry.name + "\": safetensors has tensors only");
      state.values[entry.name] = entry.value;
    } else {
      HeldTensor held;
      try {
        held = HeldBy(rank, entry.value);
      } catch (const SemanticError& error) {
        throw SemanticError(error.kind(), "\"" + entry.name + "\": " + error.what());
      }
      if (settings.tensors_only && !SafetensorsDtype(held.dtype)) {
        throw SemanticError("ValueError", "\"" + entry.name + "\": safetensors has no " + DtypeName(held.dtype));
      }
      note.dtype = held.dtype;
      note.shape = held.shape;
      for (const Piece& piece : held.pieces) note.boxes.push_back(piece.box);
      state.tensors[entry.name] = std::move(held);
    }
    state.notes.push_back(std::move(note));
  }
  return state;
}

const at::Tensor* FindPiece(const HeldTensor& held, const Box& box) {
  const auto found = std::ranges::find(held.pieces, box, &Piece::box);
  return found == held.pieces.end() ? nullptr : &found->tensor;
}

// Writes one file, and returns [file, bytes, [[name, box, begin, end, digest], …]].
Value WriteFile(Files& files, const std::string& folder, const std::string& file_name, std::vector<FileChunk> chunks,
                const HeldState& state) {
  const std::string header = LayOut(chunks);
  const std::unique_ptr<WritableFile> file = files.Create(folder + "/" + file_name);
  file->Append(header);
  int64_t size = static_cast<int64_t>(header.size());
  List written;
  for (const FileChunk& chunk : chunks) {
    std::string_view bytes;
    at::Tensor contiguous;
    if (!IsEmpty(chunk.box)) {
      const at::Tensor& piece = *FindPiece(state.tensors.at(chunk.name), chunk.box);
      contiguous = ContiguousOnCpu(piece.resolve_conj().resolve_neg());
      bytes = BytesView(contiguous);
    }
    file->Append(bytes);
    size = chunk.end;
    written.push_back(List{chunk.name, ToValue(chunk.box.offsets), ToValue(chunk.box.sizes), chunk.begin, chunk.end,
                           ChunkDigest(bytes)});
  }
  file->Finish();
  return List{file_name, size, written};
}

// Chunks of one tensor go to different files, as the format of PyTorch's HuggingFace storage wants it.
std::vector<std::vector<FileChunk>> FilesOf(const std::vector<PlannedEntry>& plan, int64_t rank) {
  std::vector<std::vector<FileChunk>> files;
  for (const PlannedEntry& planned : plan) {
    size_t index = 0;
    for (const PlannedChunk& chunk : planned.chunks) {
      if (chunk.writer != rank) continue;
      if (files.size() <= index) files.emplace_back();
      files[index++].push_back({planned.entry.name, chunk.box, planned.entry.dtype});
    }
  }
  return files;
}

// Of what this rank holds of chunks that another one writes: [[name, offsets, sizes, digest], …].
Value DigestReplicas(const std::vector<PlannedEntry>& plan, int64_t rank, const HeldState& state) {
  List replicas;
  for (const PlannedEntry& planned : plan) {
    const auto held = state.tensors.find(planned.entry.name);
    if (held == state.tensors.end()) continue;
    for (const PlannedChunk& chunk : planned.chunks) {
      const at::Tensor* piece = chunk.writer == rank ? nullptr : FindPiece(held->second, chunk.box);
      if (!piece) continue;
      const at::Tensor contiguous = ContiguousOnCpu(piece->resolve_conj().resolve_neg());
      replicas.push_back(List{planned.entry.name, ToValue(chunk.box.offsets), ToValue(chunk.box.sizes),
                              ChunkDigest(BytesView(contiguous))});
    }
  }
  return replicas;
}

// What this rank writes: {files: list, values: dict of those that it owns}.
Value WritePart(Files& files, const std::string& folder, const std::vector<PlannedEntry>& plan, int64_t rank,
                const HeldState& state) {
  const std::vector<std::vector<FileChunk>> parts = FilesOf(plan, rank);
  List written;
  for (size_t i = 0; i < parts.size(); ++i) {
    written.push_back(WriteFile(files, folder, FileName(rank, i, parts.size()), parts[i], state));
  }
  if (!parts.empty()) files.SyncFolder(folder);
  Dict values;
  for (const PlannedEntry& planned : plan) {
    if (!planned.entry.is_tensor && planned.owner == rank) {
      values.Set(planned.entry.name, state.values.at(planned.entry.name));
    }
  }
  return Dict{{"files", written}, {"values", values}};
}

// A line for each tensor of which a rank holds other values than the one that has written them.
std::vector<std::string> DifferingReplicas(const Communicator& group, const std::vector<Value>& parts) {
  std::map<std::pair<std::string, Box>, std::pair<std::string, size_t>> written;  // digest, rank in the group
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    for (const Value& file : parts[rank].AsDict().At("files").AsList()) {
      for (const Value& item : file.AsList().at(2).AsList()) {
        const List& fields = item.AsList();
        const Box box{fields.at(1).AsInts(), fields.at(2).AsInts()};
        written[{fields.at(0).AsString(), box}] = {fields.at(5).AsString(), rank};
      }
    }
  }
  std::map<std::string, std::string> lines;
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    for (const Value& item : parts[rank].AsDict().At("replicas").AsList()) {
      const List& fields = item.AsList();
      const std::string name = fields.at(0).AsString();
      const auto& [digest, writer] = written.at({name, {fields.at(1).AsInts(), fields.at(2).AsInts()}});
      if (digest == fields.at(3).AsString()) continue;
      lines.emplace(name, "\"" + name + "\": rank " + std::to_string(group.global_ranks()[rank]) +
                              " has other values than rank " + std::to_string(group.global_ranks()[writer]) +
                              ", whose are saved");
    }
  }
  std::vector<std::string> texts;
  for (const auto& [name, line] : lines) texts.push_back(line);
  return texts;
}

Manifest MakeManifest(const std::string& folder, const std::vector<PlannedEntry>& plan,
                      const std::vector<Value>& parts) {
  Manifest manifest{.folder = folder};
  std::map<std::string, Value> values;
  std::map<std::pair<std::string, Box>, SavedChunk> chunks;
  for (const Value& part : parts) {
    for (const auto& [name, value] : part.AsDict().At("values").AsDict()) values[ToString(name)] = value;
    for (const Value& file : part.AsDict().At("files").AsList()) {
      const std::string& file_name = file.AsList().at(0).AsString();
      manifest.files[file_name] = file.AsList().at(1).AsInt();
      for (const Value& item : file.AsList().at(2).AsList()) {
        const List& fields = item.AsList();
        const Box box{fields.at(1).AsInts(), fields.at(2).AsInts()};
        chunks[{fields.at(0).AsString(), box}] = {box, file_name, fields.at(3).AsInt(), fields.at(4).AsInt(),
                                                  fields.at(5).AsString()};
      }
    }
  }
  for (const PlannedEntry& planned : plan) {
    const SaveNote& entry = planned.entry;
    if (!entry.is_tensor) {
      manifest.values[entry.name] = {entry.path, values.at(entry.name)};
    } else if (!planned.chunks.empty()) {
      SavedTensor tensor{entry.path, entry.dtype, entry.shape, {}};
      for (const PlannedChunk& chunk : planned.chunks) tensor.chunks.push_back(chunks.at({entry.name, chunk.box}));
      manifest.tensors[entry.name] = std::move(tensor);
    } else {
      continue;  // of a mesh that no rank of the group is in
    }
    manifest.order.push_back(entry.name);
  }
  return manifest;
}

// What the rank writes becomes a copy, what it does not is dropped.
void CopyWritten(HeldState& state, const std::vector<PlannedEntry>& plan, int64_t rank) {
  std::set<std::pair<std::string, Box>> written;
  for (const PlannedEntry& planned : plan) {
    for (const PlannedChunk& chunk : planned.chunks) {
      if (chunk.writer == rank) written.emplace(planned.entry.name, chunk.box);
    }
  }
  for (auto& [name, held] : state.tensors) {
    for (Piece& piece : held.pieces) {
      const bool is_written = written.contains({name, piece.box});
      piece.tensor = is_written ? piece.tensor.clone(at::MemoryFormat::Contiguous) : at::Tensor();
    }
  }
}

}  // namespace

// The folder of a save that has not been published yet; removed unless it is.
class SaveSteps::NewFolder {
 public:
  NewFolder(Files& files, const SaveSettings& settings) : files_(files), path_(settings.path), name_(NewFolderName()) {
    files.MakeFolders(path_, true);
    hold_ = files.HoldForSave(path_);
    if (!settings.overwrite && HasCheckpoint(files, path_)) {
      throw SemanticError("RuntimeError", path_ + ": a checkpoint is there, and overwrite is false");
    }
    files.MakeFolders(path_ + "/" + name_, false);  // Publish syncs its name
  }
  ~NewFolder() {
    if (!published_) files_.RemoveIfPossible(path_ + "/" + name_);
  }
  const std::string& name() const { return name_; }

  // A checkpoint of the other format counts as long as its own manifest is there: a reader looks for kManifestName
  // first.
  void Publish(const std::string& text, const std::string& manifest_name) {
    const std::string target = path_ + "/" + manifest_name, written = path_ + "/" + name_ + "/" + manifest_name;
    const std::unique_ptr<WritableFile> file = files_.Create(written);
    file->Append(text);
    file->Finish();
    files_.SyncFolder(path_ + "/" + name_);
    files_.SyncFolder(path_);
    files_.Rename(written, target);
    published_ = true;
    files_.SyncFolder(path_);
    const char* other_name = manifest_name == kManifestName ? kDcpMetadataName : kManifestName;
    if (Has(other_name)) Withdraw(other_name);
    for (const std::string& other : files_.Names(path_)) {
      if (IsSaveFolder(other) && other != name_) files_.RemoveIfPossible(path_ + "/" + other);
    }
  }

 private:
  bool Has(const std::string& name) { return files_.Exists(path_ + "/" + name); }
  void Withdraw(const std::string& name) {
    files_.RemoveIfPossible(path_ + "/" + name);
    if (Has(name))
      throw SemanticError("OSError", path_ + "/" + name + ": is of the checkpoint before, and cannot be removed");
    files_.SyncFolder(path_);
  }
  Files& files_;
  std::string path_;
  std::string name_;
  std::unique_ptr<FolderHold> hold_;
  bool published_ = false;
};

SaveSteps::SaveSteps(Communicator& group, Files& files, SaveSettings settings)
    : group_(group), files_(files), settings_(std::move(settings)) {}

SaveSteps::~SaveSteps() = default;

void SaveSteps::Prepare(const Dict& state_dict) {
  const std::vector<Value> prepared = Together(group_, [&]() -> Value {
    At(StorageStep::kSetUp);
    At(StorageStep::kLocalPlan);
    state_ = Hold(state_dict, group_.global_ranks()[static_cast<size_t>(group_.rank())], settings_);
    if (group_.rank() == 0) folder_ = std::make_unique<NewFolder>(files_, settings_);
    return List{NotesToValue(state_.notes), folder_ ? folder_->name() : ""};
  });
  folder_name_ = prepared.front().AsList().at(1).AsString();
  for (const Value& one : prepared) notes_.push_back(NotesFrom(one.AsList().at(0)));
}

void SaveSteps::At(StorageStep step) const {
  if (settings_.at_step) settings_.at_step(step);
}

void SaveSteps::Plan() {
  At(StorageStep::kGlobalPlan);
  plan_ = PlanSave(notes_, settings_.lowest_rank);
  notes_.clear();
}

void SaveSteps::Stage() {
  replicas_ = DigestReplicas(plan_, group_.rank(), state_);
  CopyWritten(state_, plan_, group_.rank());
}

Value SaveSteps::Write() {
  At(StorageStep::kWrite);
  if (!replicas_) replicas_ = DigestReplicas(plan_, group_.rank(), state_);
  const std::string folder = settings_.path + "/" + folder_name_;
  Value part = (settings_.dcp ? WriteDcpPart : WritePart)(files_, folder, plan_, group_.rank(), state_);
  part.AsDict().Set("replicas", *replicas_);
  return part;
}

std::vector<std::string> SaveSteps::Publish(const std::vector<Value>& parts) {
  if (settings_.at_step) {
    Together(group_, [&]() -> Value {
      At(StorageStep::kFinish);
      return {};
    });
  }
  Together(group_, [&]() -> Value {
    if (folder_ && settings_.dcp) {
      folder_->Publish(MakeDcpMetadata(folder_name_, plan_, parts), kDcpMetadataName);
    } else if (folder_) {
      folder_->Publish(ToText(MakeManifest(folder_name_, plan_, parts)), kManifestName);
    }
    return {};
  });
  return DifferingReplicas(group_, parts);
}

std::vector<std::string> SaveCheckpoint(Communicator& group, Files& files, const Dict& state_dict,
                                        const SaveSettings& settings) {
  SaveSteps steps(group, files, settings);
  steps.Prepare(state_dict);
  return steps.Publish(Together(group, [&] {
    steps.Plan();
    return steps.Write();
  }));
}

}  // namespace shardcts::reference
