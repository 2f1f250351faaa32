// Models of the zoo with position-coded values, and the wrappers by name, as the parameter `wrapper` of a rule says.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/fsdp.h"
#include "contract/fsdp.h"
#include "rank/trial.h"

namespace shardcts::extended {

struct ModelSpec {
  std::string name;  // of the zoo
  Dict args = {};
  std::vector<std::string> units = {};  // wrapped before the root, inner ones first; FSDP1, fully_shard
  TensorParallelPlan plan = {};
};

// The model without wrappers; the k-th parameter, then buffer, in registration order is Coded(shape, k).
Model BuildCoded(Trial& t, const ModelSpec& spec, std::string_view device = {});

// The mesh that a wrapper is applied over; the world size must fit.
//   hsdp            {2, W/2}     replicate, shard
//   tp              {W}          tp
//   fully_shard_tp  {W/2, 2}     dp, tp
//   hsdp_tp         {2, W/4, 2}  replicate, shard, tp
//   fsdp_hybrid     {2, W/2}     replicate, shard
//   all others      {W}          unnamed
std::vector<int64_t> MeshShapeOf(std::string_view wrapper, int world_size);
std::vector<std::string> MeshNamesOf(std::string_view wrapper);

// *Collective*. What Wrap gives FSDP1 for fsdp, fsdp_orig, fsdp_mesh, fsdp_hybrid.
FsdpOptions FsdpOptionsOf(Trial& t, std::string_view wrapper);

// *Collective*. Applies the wrapper in place: plain (none), ddp, replicate, fsdp, fsdp_orig (use_orig_params),
// fsdp_mesh (FSDP1 over a 1-D mesh), fsdp_hybrid (FSDP1 over a 2-D mesh), fully_shard, hsdp, tp, fully_shard_tp,
// hsdp_tp. HarnessError for another name.
void Wrap(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper);

// *Collective*. The same of a wrapper over a mesh of this shape in place of MeshShapeOf.
void WrapOver(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper,
              const std::vector<int64_t>& mesh_shape);

// *Collective*. A unit with this policy: fully_shard, or FSDP1 as FsdpOptionsOf says, which takes the dtypes of parameters
// and of reductions.
void WrapMixed(Trial& t, Model& model, const std::string& path, const std::string& wrapper,
               const MixedPrecisionPolicy& policy);

// *Collective* over the world. Two models at a time: ranks [0, W/2) hold one and the others the other, or even and odd
// ranks. fsdp, fsdp_orig over a process group, which is returned, fully_shard over a submesh; plain holds one on each
// rank.
enum class Halves { kBlocks, kInterleaved };
std::optional<ProcessGroup> WrapInHalves(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper,
                                         Halves halves = Halves::kBlocks);
// The ranks that hold this rank's model.
std::vector<int64_t> RanksOfHalf(const Trial& t, Halves halves = Halves::kBlocks);

// BuildCoded and Wrap.
Model BuildWrapped(Trial& t, const ModelSpec& spec, std::string_view wrapper);

}  // namespace shardcts::extended
