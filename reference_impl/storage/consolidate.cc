#include "storage/consolidate.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "contract/tensor_bytes.h"
#include "storage/checkpoint.h"
#include "storage/foreign_safetensors.h"
#include "storage/read_chunks.h"
#include "storage/safetensors.h"
#include "storage/together.h"
#include "storage/untrusted_json.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using FileNumbers = std::map<std::string, int64_t>;  // by the tensor's name

void CheckConsolidated(const Manifest& manifest, const FileNumbers& file_of) {
  const auto fail = [](const std::string& name, const std::string& problem) {
    throw SemanticError("ValueError", "\"" + name + "\": " + problem);
  };
  if (!manifest.values.empty()) fail(manifest.values.begin()->first, "safetensors has tensors only");
  for (const auto& [name, tensor] : manifest.tensors) {
    if (!SafetensorsDtype(tensor.dtype)) fail(name, "safetensors has no " + DtypeName(tensor.dtype));
    if (!file_of.contains(name)) fail(name, "has no number of a file");
  }
  for (const auto& [name, number] : file_of) {
    if (!manifest.tensors.contains(name)) fail(name, "is no tensor of the checkpoint");
    if (number < 1) fail(name, "the number of a file is 1 or more, not " + std::to_string(number));
  }
}

std::string ConsolidatedName(int64_t number, int64_t count) {
  const auto digits = [](int64_t value) {
    const std::string text = std::to_string(value);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  return "model-" + digits(number) + "-of-" + digits(count) + ".safetensors";
}

void WriteConsolidated(Files& files, const std::string& file_path, const Manifest& manifest, SavedFiles& saved,
                       const std::vector<std::string>& names) {
  std::vector<FileChunk> chunks;
  for (const std::string& name : names) {
    const SavedTensor& tensor = manifest.tensors.at(name);
    chunks.push_back({name, WholeBox(tensor.shape), tensor.dtype});
  }
  const std::string header = LayOut(chunks);
  const std::unique_ptr<WritableFile> file = files.Create(file_path);
  file->Append(header);
  for (const FileChunk& chunk : chunks) {
    const SavedTensor& tensor = manifest.tensors.at(chunk.name);
    for (const SavedChunk& part : tensor.chunks) CheckDigest(saved, chunk.name, part);
    const at::Tensor whole = at::empty(tensor.shape, at::TensorOptions().dtype(tensor.dtype));
    ReadInto(saved, tensor, {{WholeBox(tensor.shape), whole}});
    if (whole.numel() > 0) file->Append(BytesView(whole));
  }
  file->Finish();
}

void WriteIndex(Files& files, const std::string& target, const Manifest& manifest, const FileNumbers& file_of,
                int64_t count) {
  int64_t total = 0;
  FileJson places = FileJson::object();
  for (const auto& [name, tensor] : manifest.tensors) {
    total += NumElements(tensor.shape) * static_cast<int64_t>(c10::elementSize(tensor.dtype));
    places[name] = ConsolidatedName(file_of.at(name), count);
  }
  const std::unique_ptr<WritableFile> file = files.Create(target + "/" + kSafetensorsIndex);
  file->Append(FileJson{{"metadata", {{"total_size", total}}}, {"weight_map", std::move(places)}}.dump(2));
  file->Finish();
  files.SyncFolder(target);
}

// What goes where.
struct Consolidation {
  Manifest manifest;
  FileNumbers file_of;
  std::map<int64_t, std::vector<std::string>> names;  // by the number of the file
  int64_t count = 0;                                  // of files
};

Consolidation PlanOf(Files& files, const std::string& path, const std::optional<FileNumbers>& given) {
  Consolidation plan{.manifest = ReadManifest(files, path), .file_of = given.value_or(FileNumbers()), .names = {}};
  for (const auto& [name, tensor] : plan.manifest.tensors) {
    if (!given) plan.file_of[name] = 1;
  }
  CheckConsolidated(plan.manifest, plan.file_of);
  for (const auto& [name, number] : plan.file_of) plan.names[number].push_back(name);
  plan.count = plan.names.empty() ? 0 : plan.names.rbegin()->first;
  return plan;
}

// Makes the folder. Readers would take an older checkpoint there for what is written now, or the files of both.
void PrepareTarget(Files& files, const std::string& target) {
  files.MakeFolders(target, true);
  if (HasCheckpoint(files, target) || files.Exists(target + "/" + kSafetensorsIndex)) {
    throw SemanticError("RuntimeError", target + ": a checkpoint is there, or files of one");
  }
}

// Those of the files that a rank of so many writes, with the names of their tensors.
template <class Visit>
void ForEachFile(const std::string& target, const Consolidation& plan, int rank, int ranks, const Visit& visit) {
  for (const auto& [number, names] : plan.names) {
    if (number % ranks == rank) visit(target + "/" + ConsolidatedName(number, plan.count), names);
  }
}

void WriteFiles(Files& files, const std::string& path, const std::string& target, const Consolidation& plan, int rank,
                int ranks) {
  SavedFiles saved(files, path, plan.manifest);
  ForEachFile(target, plan, rank, ranks, [&](const std::string& file, const std::vector<std::string>& names) {
    WriteConsolidated(files, file, plan.manifest, saved, names);
  });
}

// Removes what the rank has written, so that the folder can be tried again.
void RemoveFiles(Files& files, const std::string& target, const Consolidation& plan, int rank, int ranks) {
  ForEachFile(target, plan, rank, ranks, [&](const std::string& file, const auto&) { files.RemoveIfPossible(file); });
  if (rank == 0) files.RemoveIfPossible(target + "/" + kSafetensorsIndex);
}

}  // namespace

void ConsolidateCheckpoint(Files& files, const std::string& path, const std::string& target,
                           const std::optional<FileNumbers>& given) {
  Alone([&] {
    const Consolidation plan = PlanOf(files, path, given);
    PrepareTarget(files, target);
    try {
      WriteFiles(files, path, target, plan, 0, 1);
      WriteIndex(files, target, plan.manifest, plan.file_of, plan.count);
    } catch (...) {
      RemoveFiles(files, target, plan, 0, 1);
      throw;
    }
  });
}

void ConsolidateTogether(Communicator& group, Files& files, const std::string& path, const std::string& target,
                         const std::optional<FileNumbers>& given) {
  Consolidation plan;
  const std::vector<Value> of_ranks = Together(group, [&]() -> Value {
    plan = PlanOf(files, path, given);
    return FileJson(plan.file_of).dump();
  });
  Together(group, [&]() -> Value {
    if (of_ranks.front().AsString() != FileJson(plan.file_of).dump()) {
      throw SemanticError("RuntimeError", "the files are others than those of the first rank");
    }
    if (group.rank() == 0) PrepareTarget(files, target);
    return {};
  });
  try {
    Together(group, [&]() -> Value {
      WriteFiles(files, path, target, plan, group.rank(), group.size());
      return {};
    });
    Together(group, [&]() -> Value {
      if (group.rank() == 0) WriteIndex(files, target, plan.manifest, plan.file_of, plan.count);
      return {};
    });
  } catch (...) {
    RemoveFiles(files, target, plan, group.rank(), group.size());
    throw;
  }
}

}  // namespace shardcts::reference
