// Ports of test_hf_safetensor_e2e.py (those that reshard are in resharding.cc) and test_consolidate_hf_safetensors.py.
// Files are written and read without the implementation, as upstream does with the library safetensors.
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>

#include "contract/json_codec.h"
#include "contract/tensor_bytes.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/safetensors_files.h"
#include "suites/storage/worlds.h"

namespace shardcts::dcp {
namespace {

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

// Who puts the parts together.
enum class Consolidates { kFirstRank, kEveryRank };

// Rows and columns of one 4×4 matrix, saved by all ranks and put together.
void Consolidate(Trial& t, const std::map<std::string, int64_t>& files, Consolidates who = Consolidates::kFirstRank) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  Dict state;
  for (const auto& [name, number] : files) {
    const std::string placements = name == "dtensor" ? "S0" : "S1";
    state.Set(name, t.subject().Distribute(Counting({4, 4}), mesh, storage::PlacementsOf(placements)));
  }
  SaveCheckpoint(t.caller(), state, "checkpoint", kSafetensors);
  if (who == Consolidates::kEveryRank) return ConsolidateOnEveryRank(t.caller(), "checkpoint", "consolidated", files);
  storage::Rank0Does(t, [&] { ConsolidateCheckpoint(t.caller(), "checkpoint", "consolidated", files); });
}

struct IndexChecks {
  std::string_view size, files;
};
void HasIndex(Trial& t, const IndexChecks& checks, const Json& weight_map) {
  const std::string file = t.Folder("consolidated") + "/" + storage::kSafetensorsIndex;
  const Json index = Json::parse(storage::ContentOf(file), nullptr, false);
  if (!index.is_object()) return t.Fail("the index is no JSON object");
  t.Check(checks.size, Equal<int64_t>("total_size", 16 * 4 * 2, index.value("/metadata/total_size"_json_pointer, -1)));
  t.Check(checks.files, Holds(index.value("weight_map", Json()) == weight_map, "weight_map", "names other files"));
}

Dict Matrices(const std::vector<std::string>& names) {
  Dict matrices;
  for (const std::string& name : names) matrices.Set(name, Counting({4, 4}));
  return matrices;
}

constexpr int64_t kBlock = 128;  // rows and columns with one factor

// A weight, the factors of its blocks, and what their product is.
struct Quantized {
  at::Tensor stored, factors, product;
};

Quantized WithFactors(at::Tensor stored, at::Tensor factors) {
  const at::Tensor spread = factors.repeat_interleave(kBlock, 0).repeat_interleave(kBlock, 1);
  const at::Tensor product = stored * spread.narrow(0, 0, stored.size(0)).narrow(1, 0, stored.size(1));
  return {std::move(stored), std::move(factors), product};
}

std::vector<int64_t> BlocksOf(const std::vector<int64_t>& shape) {
  return {(shape[0] + kBlock - 1) / kBlock, (shape[1] + kBlock - 1) / kBlock};
}

// Writes the weights with their factors into one file, with its index, and loads the products.
Dict LoadQuantized(Trial& t, const std::string& folder, const std::map<std::string, Quantized>& weights) {
  Dict saved, target;
  for (const auto& [name, weight] : weights) {
    saved.Set(name, weight.stored);
    saved.Set(name + "_scale_inv", weight.factors);
    target.Set(name, at::zeros_like(weight.stored));
  }
  storage::WriteIndexedSafetensors(t.Folder(folder), saved);
  return LoadCheckpoint(t.caller(), target, folder,
                        {.format = "safetensors", .threads = 2, .block_size = kBlock, .distributed = false});
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
  storage::WriteSafetensors(t.Folder("checkpoint/model-00001-of-00001.safetensors"), saved);
  const Dict loaded = LoadCheckpoint(t.caller(), ModuleState(t, 2), "checkpoint",
                                     {.format = "safetensors", .distributed = false});
  HasTensors(t, {"C1", "C2"}, "what was loaded", saved, loaded);
}

PORT(test_load_into_empty_dict) {
  const Dict saved = ModuleState(t, 1);
  storage::WriteSafetensors(t.Folder("checkpoint/model-00001-of-00001.safetensors"), saved);
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

PORT(test_quantized_checkpoint_loading) {
  const std::map<std::string, std::vector<int64_t>> shapes{
      {"linear1.weight", {256, 128}}, {"linear2.weight", {128, 64}}, {"embedding.weight", {512, 256}}};
  std::map<std::string, Quantized> weights, uneven;
  Dict expected;
  for (const auto& [name, shape] : shapes) {
    const at::Tensor stored = Uniform(shape, static_cast<int64_t>(weights.size()));
    weights[name] = WithFactors(stored, at::full(BlocksOf(shape), 2.0, at::kFloat));
    expected.Set(name, weights[name].product);
    const std::vector<int64_t> larger{shape[0] + 1, shape[1] + 5};
    uneven[name] = WithFactors(Counting(larger) + 1, Counting(BlocksOf(larger)) + 1);
  }
  const Dict loaded = LoadQuantized(t, "checkpoint", weights);
  t.Check("C1", SameNameSet("names", expected.Keys(), loaded.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* found = loaded.Find(name);
    if (!found) continue;
    const at::Tensor &one = value.AsTensor(), &other = found->AsTensor();
    t.Check("C2", Equal(ToString(name) + ": shape", one.sizes().vec(), other.sizes().vec()));
    t.Check("C3", Equal(ToString(name) + ": dtype", DtypeName(one.scalar_type()), DtypeName(other.scalar_type())));
    t.Check("C4", SameValue(ToString(name), value, other, {.tolerance = {.rtol = 1e-5, .atol = 1e-5}}));
  }
  const Dict products = LoadQuantized(t, "uneven", uneven);
  for (const auto& [name, weight] : uneven) {
    const Value* found = products.Find(name);
    t.Strict("C4", found ? SameValue(name + " in uneven blocks", weight.product, *found)
                         : Holds(false, name, "is not among what was loaded"));
  }
}

PORT(test_calculate_max_contiguous_elements_validations) {
  using Ints = std::vector<int64_t>;
  const auto refused = [&](std::string_view check, const Ints& place, const Ints& part) {
    t.Raises(check, "ValueError", "", [&] { ContiguousRun(t.caller(), place, part, {4, 5}); });
  };
  refused("C1", {}, {2, 3});
  refused("C2", {1}, {2, 3});
  refused("C3", {2, 1}, {2, 3});
  refused("C4", {1, 2}, {2, 6});
}

PORT(test_calculate_max_contiguous_elements_valid_cases) {
  const auto run = [&](std::string_view check, int64_t expected, const std::vector<int64_t>& place,
                       const std::vector<int64_t>& part, const std::vector<int64_t>& shape) {
    t.Check(check, Equal<int64_t>("elements", expected, ContiguousRun(t.caller(), place, part, shape)));
  };
  run("C1", 3, {2}, {5}, {10});
  run("C2", 8, {1, 0}, {3, 4}, {6, 4});
  run("C3", 2, {1, 2}, {3, 4}, {6, 8});
  run("C4", 16, {1, 0, 0}, {3, 2, 4}, {5, 2, 4});
  run("C5", 1, {2, 3}, {3, 4}, {6, 8});
  run("C6", 10, {0, 0}, {2, 5}, {4, 5});
  run("C7", 2, {1, 0}, {3, 2}, {4, 8});
  run("C8", 3, {0, 0}, {2, 3}, {6, 10});
}

PORT(test_write_sub_tensor_to_file_optimized) {
  at::Tensor rows = at::zeros({4, 6}), columns = at::zeros({3, 8});
  rows.narrow(0, 1, 2).copy_(Counting({2, 6}));
  columns.narrow(1, 3, 2).copy_(Counting({3, 2}));
  t.Check("C1", SameValue("rows", rows, PlacePart(t.caller(), Counting({2, 6}), {1, 0}, {4, 6})));
  t.Check("C2", SameValue("columns", columns, PlacePart(t.caller(), Counting({3, 2}), {0, 3}, {3, 8})));
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

PORT(test_consolidate_with_two_ranks) {
  Consolidate(t, {{"dtensor", 1}, {"dtensor_col", 2}}, Consolidates::kEveryRank);
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  HasTensors(t, {"C1", "C2"}, "the first file", Matrices({"dtensor"}), ReadFile(t, "consolidated/" + first));
  HasTensors(t, {"C3", "C4"}, "the second file", Matrices({"dtensor_col"}), ReadFile(t, "consolidated/" + second));
  const bool has_index = std::filesystem::exists(t.Folder("consolidated") + "/" + storage::kSafetensorsIndex);
  t.Check("C5", Holds(has_index, storage::kSafetensorsIndex, "expected this file"));
  HasIndex(t, {"C6", "C7"}, {{"dtensor", first}, {"dtensor_col", second}});
}

PORT(test_consolidate_one_file_with_two_ranks) {
  Consolidate(t, {{"dtensor", 1}, {"dtensor_col", 1}}, Consolidates::kEveryRank);
  HasTensors(t, {"C1", "C2"}, "the file", Matrices({"dtensor", "dtensor_col"}),
             ReadFile(t, "consolidated/model-00001-of-00001.safetensors"));
}

}  // namespace shardcts::dcp
