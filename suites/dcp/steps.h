// Steps that the ports of the tests of checkpoints share: the models, tensors and comparisons of upstream's files.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "contract/storage.h"
#include "rank/trial.h"

namespace shardcts::dcp {

// Uniform in [0, 1); the same on every rank and in every implementation. `number` distinguishes the tensors of a test.
at::Tensor Uniform(at::IntArrayRef shape, int64_t number = 0);

// 0, 1, 2, … as float32.
at::Tensor Counting(at::IntArrayRef shape);

// Linear layers by name, applied one after the other, with a ReLU after each; values are drawn from the generator,
// which is seeded first. `device`: "", or "meta".
struct Layers {
  int64_t in = 0;
  std::vector<std::pair<std::string, int64_t>> out;  // name, outputs
};
Model BuildLayers(Trial& t, const Layers& layers, int64_t seed, std::string_view device = {});

// The state dict of upstream's MyTestModule: two Linear and an EmbeddingBag, with values that differ by seed.
Dict ModuleState(Trial& t, int64_t seed);

// Whether all entries of the first are in the second, with equal values. *Local*.
bool IsSame(const Dict& expected, const Dict& actual);

// Upstream's comparison of two state dicts: as many entries, the same names, each value equal.
struct StateChecks {
  std::string_view count, names, values;
};
void ExpectSameState(Trial& t, const StateChecks& checks, std::string_view what, const Dict& expected,
                     const Dict& actual);

// The local parts of two state dicts with the same names in the same order.
struct LayoutChecks {
  std::string_view names, meshes, placements, values;
};
enum class Values { kEqual, kDiffer };
void ExpectSameLayout(Trial& t, const LayoutChecks& checks, std::string_view what, const Dict& expected,
                      const Dict& actual, Values values);

}  // namespace shardcts::dcp
