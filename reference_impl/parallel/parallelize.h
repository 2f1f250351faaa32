// Parallelize: applies a tensor-parallel plan to a model.
// Semantics: torch.distributed.tensor.parallel.parallelize_module.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/module.h"
#include "tensor/device_mesh.h"

namespace shardcts::reference {

enum class ParallelStyle { kColwise, kRowwise, kSequence };

// "colwise", "rowwise", "sequence". ValueError for another text.
ParallelStyle ParseParallelStyle(const std::string& text);

// Path of the submodule and its style, in order. The components of a path may be patterns (*, ?, [...]).
using ParallelPlan = std::vector<std::pair<std::string, ParallelStyle>>;

// *Collective* over the mesh, same arguments on every rank. Replaces each named layer by its parallel form
// (tensor_parallel_layers.h), in place; `root` itself cannot be replaced. Returns a warning for each path that matches
// no module; such an entry has no effect.
// ValueError: the mesh is not 1-D. NotImplementedError: a style that the layer does not support (colwise and rowwise
// need a Linear, sequence a LayerNorm), or the path of the root. Nothing has changed in these cases.
std::vector<std::string> Parallelize(models::Module& root, const std::shared_ptr<DeviceMesh>& mesh,
                                     const ParallelPlan& plan);

}  // namespace shardcts::reference
