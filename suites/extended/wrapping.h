// Models of the zoo with position-coded values, and the wrappers by name, as the parameter `wrapper` of a rule says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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
//   all others      {W}          unnamed
std::vector<int64_t> MeshShapeOf(std::string_view wrapper, int world_size);
std::vector<std::string> MeshNamesOf(std::string_view wrapper);

// *Collective*. Applies the wrapper in place: plain (none), ddp, replicate, fsdp, fsdp_orig (use_orig_params),
// fully_shard, hsdp, tp, fully_shard_tp, hsdp_tp. HarnessError for another name.
void Wrap(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper);

// *Collective*. The same of a wrapper over a mesh of this shape in place of MeshShapeOf.
void WrapOver(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper,
              const std::vector<int64_t>& mesh_shape);

// BuildCoded and Wrap.
Model BuildWrapped(Trial& t, const ModelSpec& spec, std::string_view wrapper);

}  // namespace shardcts::extended
