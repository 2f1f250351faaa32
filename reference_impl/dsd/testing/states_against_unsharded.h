// For tests of the distributed state-dict functions: a model in each kind of wrapper, and a plain reference model.
#pragma once

#include <algorithm>
#include <map>

#include "dsd/state_dict_functions.h"
#include "fsdp/testing/units_against_unsharded.h"
#include "parallel/parallelize.h"
#include "wrappers/checkpoint_wrapper.h"
#include "wrappers/compile_wrapper.h"
#include "wrappers/data_parallel.h"

namespace shardcts::reference {

inline MeshRegistry& Meshes() {
  static MeshRegistry meshes;
  return meshes;
}
inline std::shared_ptr<DeviceMesh> MeshOf(const std::vector<int64_t>& shape, const std::vector<std::string>& names) {
  return Meshes().GetOrCreate(World(), "cpu", shape, names);
}

enum class Wrapping {
  kPlain, kDataParallel, kCompiled, kCheckpointed, kTensorParallel,
  kFullyShard, kFullyShardHybrid, kFullyShardOnTensorParallel,
  kFlatUnits, kFlatUnitsOnMesh, kSlicedUnits, kSlicedUnitsOnMesh, kHybridUnits, kUnshardedUnits,
};
struct WrappingCase {
  std::string name;
  Wrapping wrapping;
};
inline std::vector<WrappingCase> AllWrappings() {
  return {{"Plain", Wrapping::kPlain},
          {"DataParallel", Wrapping::kDataParallel},
          {"Compiled", Wrapping::kCompiled},
          {"Checkpointed", Wrapping::kCheckpointed},
          {"TensorParallel", Wrapping::kTensorParallel},
          {"FullyShard", Wrapping::kFullyShard},
          {"FullyShardHybrid", Wrapping::kFullyShardHybrid},
          {"FullyShardOnTensorParallel", Wrapping::kFullyShardOnTensorParallel},
          {"FlatUnits", Wrapping::kFlatUnits},
          {"FlatUnitsOnMesh", Wrapping::kFlatUnitsOnMesh},
          {"SlicedUnits", Wrapping::kSlicedUnits},
          {"SlicedUnitsOnMesh", Wrapping::kSlicedUnitsOnMesh},
          {"HybridUnits", Wrapping::kHybridUnits},
          {"UnshardedUnits", Wrapping::kUnshardedUnits}};
}

// Two rows, one if there is only one rank.
inline std::vector<int64_t> TwoRows() {
  const int64_t rows = std::min(World().size(), 2);
  return {rows, World().size() / rows};
}

inline FsdpOptions UnitOptions(Wrapping wrapping) {
  FsdpOptions options = OverTheWorld();
  options.use_orig_params = wrapping == Wrapping::kSlicedUnits || wrapping == Wrapping::kSlicedUnitsOnMesh;
  if (wrapping == Wrapping::kUnshardedUnits) options.strategy = ShardingStrategy::kNoShard;
  if (wrapping == Wrapping::kFlatUnitsOnMesh || wrapping == Wrapping::kSlicedUnitsOnMesh) {
    options.mesh = MeshOf({World().size()}, {});
  }
  if (wrapping == Wrapping::kHybridUnits) {
    options.mesh = MeshOf(TwoRows(), {"replicate", "shard"});
    options.strategy = ShardingStrategy::kHybridShard;
    options.shard_group = {options.mesh, &options.mesh->group(1)};
    options.replicate_group = {options.mesh, &options.mesh->group(0)};
  }
  return options;
}

inline const ParallelPlan kPlan = {{"0.in_proj", ParallelStyle::kColwise}, {"0.out_proj", ParallelStyle::kRowwise}};

// *Collective*. Of a nested_mlp.
inline models::ModulePtr Wrapped(models::ModulePtr model, Wrapping wrapping) {
  switch (wrapping) {
    case Wrapping::kPlain: return model;
    case Wrapping::kDataParallel: return std::make_shared<DataParallel>(model, OverTheWorld().shard_group);
    case Wrapping::kCompiled:
      ShardAll(*model, kThreeLayers, On(MeshOf({World().size()}, {})));
      return std::make_shared<CompileWrapper>(model);
    case Wrapping::kCheckpointed:
      model->ReplaceChild("1", std::make_shared<CheckpointWrapper>(model->child("1")));
      return std::make_shared<DataParallel>(model, OverTheWorld().shard_group);
    case Wrapping::kTensorParallel:
      Parallelize(*model, MeshOf({World().size()}, {}), kPlan);
      return model;
    case Wrapping::kFullyShard:
      ShardAll(*model, kThreeLayers, On(MeshOf({World().size()}, {})));
      return model;
    case Wrapping::kFullyShardHybrid:
      ShardAll(*model, kThreeLayers, On(MeshOf(TwoRows(), {"replicate", "shard"})));
      return model;
    case Wrapping::kFullyShardOnTensorParallel: {
      const std::vector<int64_t> rows = TwoRows();
      const auto mesh = MeshOf({rows[1], rows[0]}, {"dp", "tp"});
      Parallelize(*model, mesh->Submesh({"tp"}), kPlan);
      ShardAll(*model, kThreeLayers, On(mesh->Submesh({"dp"})));
      return model;
    }
    default: return WrapAll(model, {"0", "2"}, UnitOptions(wrapping));
  }
}

// The functions under test, with a context of their own.
struct Warnings {
  std::vector<Warning> given;
};
inline StateDictContext Here(Warnings& warnings) { return {&World(), Meshes(), warnings.given}; }

inline Dict GetModel(models::Module& model, const StateDictOptions& options = {}) {
  Warnings warnings;
  return GetModelStateDict(model, {}, options, Here(warnings));
}
inline LoadResult SetModel(models::Module& model, const Dict& state_dict, const StateDictOptions& options = {}) {
  Warnings warnings;
  return SetModelStateDict(model, state_dict, options, Here(warnings));
}
inline Dict GetOptimizer(models::Module& model, Optimizer& optimizer, const StateDictOptions& options = {}) {
  Warnings warnings;
  return GetOptimizerStateDict(model, {&optimizer}, options, Here(warnings));
}
inline void SetOptimizer(models::Module& model, Optimizer& optimizer, const Dict& state_dict,
                         const StateDictOptions& options = {}) {
  Warnings warnings;
  SetOptimizerStateDict(model, {&optimizer}, state_dict, options, Here(warnings));
}

constexpr StateDictOptions kFull{.full_state_dict = true};
constexpr StateDictOptions kFullOnCpu{.full_state_dict = true, .cpu_offload = true};
constexpr StateDictOptions kFromRank0{.full_state_dict = true, .broadcast_from_rank0 = true};

// {name: tensor} with storage of its own.
inline Dict Copied(const Dict& state_dict) {
  Dict copy;
  for (const auto& [name, value] : state_dict) {
    const auto* dict = value.TryAs<Dict>();
    const auto* tensor = value.TryAs<Tensor>();
    copy.Set(name, dict ? Value(Copied(*dict)) : tensor ? Value(tensor->data.clone()) : value);
  }
  return copy;
}

// The same names in any order, and plain tensors equal within `tolerance`.
inline void ExpectSameTensors(const Dict& actual, const Dict& expected, double tolerance = 0) {
  EXPECT_THAT(actual.Keys(), testing::UnorderedElementsAreArray(expected.Keys()));
  for (const auto& [name, value] : expected) {
    if (!actual.Contains(name)) continue;
    const at::Tensor tensor = actual.At(name).AsTensor();
    ASSERT_EQ(tensor.sizes(), value.AsTensor().sizes()) << ToString(name);
    EXPECT_TRUE(at::allclose(tensor, value.AsTensor(), tolerance, tolerance)) << ToString(name);
  }
}

// *Collective*. One step of each, all ranks on equal data.
inline void TrainEqually(models::Module& model, Optimizer& optimizer, models::Module& twin, Optimizer& twin_optimizer) {
  StepSharded(twin, twin_optimizer, InputOf(0, 0, 3));
  StepSharded(model, optimizer, InputOf(0, 0, 3));
}

}  // namespace shardcts::reference
