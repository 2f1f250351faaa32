// Ports of test_hf_safetensor_e2e.py (those that reshard are in resharding.cc) and test_consolidate_hf_safetensors.py.
// Files are written and read without the implementation, as upstream does with the library safetensors.
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>

#include "contract/json_codec.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/safetensors_reader.h"
#include "suites/storage/worlds.h"

namespace shardcts::dcp {
namespace {

// A file of the format with these float32 tensors.
void WriteSafetensors(const std::string& path, const Dict& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, value] : tensors) {
    const at::Tensor tensor = value.AsTensor().contiguous();
    const size_t begin = data.size();
    data.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    header[ToString(name)] = {
        {"dtype", "F32"}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  std::string length;
  for (int byte = 0; byte < 8; ++byte) length += static_cast<char>(text.size() >> (8 * byte) & 0xff);
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << length << text << data;
}

Dict ReadFile(Trial& t, const std::string& path) {
  std::vector<std::string> problems;
  Dict read;
  for (const auto& [name, part] : storage::ReadSafetensors(t.Folder(path), problems)) read.Set(name, part.tensor);
  for (const std::string& problem : problems) t.Fail(problem);
  return read;
}

// Names in any order, and each tensor.
struct FileChecks {
  std::string_view names, values;
};
void HasTensors(Trial& t, const FileChecks& checks, const std::string& what, const Dict& expected, const Dict& actual) {
  t.Check(checks.names, SameNameSet(what + ": names", expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* found = actual.Find(name);
    if (found) t.Check(checks.values, SameValue(what + ": " + ToString(name), value, *found));
  }
}

const SaveOptions kSafetensors{.format = "safetensors"};

// Rows and columns of one 4×4 matrix, saved by all ranks and put together by the first one.
void Consolidate(Trial& t, const std::map<std::string, int64_t>& files) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  Dict state;
  for (const auto& [name, number] : files) {
    const std::string placements = name == "dtensor" ? "S0" : "S1";
    state.Set(name, t.subject().Distribute(Counting({4, 4}), mesh, storage::PlacementsOf(placements)));
  }
  SaveCheckpoint(t.caller(), state, "checkpoint", kSafetensors);
  storage::Rank0Does(t, [&] { ConsolidateCheckpoint(t.caller(), "checkpoint", "consolidated", files); });
}

struct IndexChecks {
  std::string_view size, files;
};
void HasIndex(Trial& t, const IndexChecks& checks, const Json& weight_map) {
  const Json index =
      Json::parse(storage::ContentOf(t.Folder("consolidated/model.safetensors.index.json")), nullptr, false);
  if (!index.is_object()) return t.Fail("the index is no JSON object");
  t.Check(checks.size, Equal<int64_t>("total_size", 16 * 4 * 2, index.value("/metadata/total_size"_json_pointer, -1)));
  t.Check(checks.files, Holds(index.value("weight_map", Json()) == weight_map, "weight_map", "names other files"));
}

Dict Matrices(const std::vector<std::string>& names) {
  Dict matrices;
  for (const std::string& name : names) matrices.Set(name, Counting({4, 4}));
  return matrices;
}

}  // namespace

PORT(test_save) {
  const Dict saved = ModuleState(t, 1);
  SaveCheckpoint(t.caller(), saved, "checkpoint", {.format = "safetensors", .distributed = false});
  std::vector<std::string> problems;
  Dict read;
  for (const auto& [name, tensor] : storage::ReadSafetensorsBelow(t.Folder("checkpoint"), problems)) {
    read.Set(name, tensor);
  }
  for (const std::string& problem : problems) t.Fail(problem);
  HasTensors(t, {"C1", "C2"}, "the file", saved, read);
}

PORT(test_load) {
  const Dict saved = ModuleState(t, 1);
  WriteSafetensors(t.Folder("checkpoint/model-00001-of-00001.safetensors"), saved);
  const Dict loaded = LoadCheckpoint(t.caller(), ModuleState(t, 2), "checkpoint",
                                     {.format = "safetensors", .distributed = false});
  HasTensors(t, {"C1", "C2"}, "what was loaded", saved, loaded);
}

PORT(test_load_into_empty_dict) {
  const Dict saved = ModuleState(t, 1);
  WriteSafetensors(t.Folder("checkpoint/model-00001-of-00001.safetensors"), saved);
  HasTensors(t, {"C1", "C2"}, "what was read", saved, ReadCheckpoint(t.caller(), "checkpoint"));
}

PORT(test_load_with_multiple_threads) {
  const Dict saved = ModuleState(t, 1);
  SaveCheckpoint(t.caller(), saved, "parts", {.format = "safetensors", .distributed = false});
  std::map<std::string, int64_t> files;
  for (const std::string& name : saved.Keys()) files[name] = static_cast<int64_t>(files.size()) % 2 + 1;
  ConsolidateCheckpoint(t.caller(), "parts", "checkpoint", files);
  const Dict loaded = LoadCheckpoint(t.caller(), ModuleState(t, 2), "checkpoint",
                                     {.format = "safetensors", .threads = 2, .distributed = false});
  HasTensors(t, {"C1", "C2"}, "what was loaded", saved, loaded);
}

PORT(test_consolidate_to_one_file_e2e) {
  Consolidate(t, {{"dtensor", 1}});
  if (t.rank() > 0) return;
  HasTensors(t, {"C1", "C2"}, "the file", Matrices({"dtensor"}),
             ReadFile(t, "consolidated/model-00001-of-00001.safetensors"));
}

PORT(test_consolidate_to_one_file) {
  Consolidate(t, {{"dtensor", 1}, {"dtensor_col", 1}});
  if (t.rank() > 0) return;
  const std::string file = "model-00001-of-00001.safetensors";
  HasTensors(t, {"C1", "C2"}, "the file", Matrices({"dtensor", "dtensor_col"}), ReadFile(t, "consolidated/" + file));
  HasIndex(t, {"C3", "C4"}, {{"dtensor", file}, {"dtensor_col", file}});
}

PORT(test_consolidate_to_two_files) {
  Consolidate(t, {{"dtensor", 1}, {"dtensor_col", 2}});
  if (t.rank() > 0) return;
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  HasTensors(t, {"C1", "C2"}, "the first file", Matrices({"dtensor"}), ReadFile(t, "consolidated/" + first));
  HasTensors(t, {"C3", "C4"}, "the second file", Matrices({"dtensor_col"}), ReadFile(t, "consolidated/" + second));
  HasIndex(t, {"C5", "C6"}, {{"dtensor", first}, {"dtensor_col", second}});
}

}  // namespace shardcts::dcp
