// Tensors on a world, made without the implementation: which part a rank holds is a formula (contract/parts.h).
// *Local*.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suites/storage/worlds.h"

namespace shardcts::storage {

// "S0", "R", "S0.S1" on two mesh dimensions, "_S0_2" a strided shard. HarnessError for another text.
std::vector<Placement> PlacementsOf(std::string_view text);

// The DTensor that this rank, which is in the mesh, has of `whole`, in memory of its own.
DTensor PartOf(const at::Tensor& whole, const MeshLayout& mesh, const std::vector<Placement>& placements, int64_t rank);

// One entry of a state dict.
struct PlacedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string placements;  // "": a plain tensor on every rank
  at::ScalarType dtype = at::kFloat;
};

// The k-th entry is Coded(shape, k). On ranks that are not in the world empty.
Dict CodedState(const Trial& t, const World& world, const std::vector<PlacedTensor>& tensors);
// The same with other values: where to load.
Dict BlankState(const Trial& t, const World& world, const std::vector<PlacedTensor>& tensors);
// The state with one entry more on the last rank, which its flat name clashes with: a save of it fails there.
Dict ClashingOnLast(const Trial& t, Dict state);
// Whole tensors.
Dict WholeState(const std::vector<PlacedTensor>& tensors);

// Evaluates the rule for each entry, on ranks of the world: the part that the formula gives, bit for bit.
void HasCoded(Trial& t, std::string_view what, const World& world, const std::vector<PlacedTensor>& tensors,
              const Dict& loaded);
// Evaluates the rule on every rank: a checkpoint read as a whole has these tensors.
void HoldsCoded(Trial& t, std::string_view what, const std::vector<PlacedTensor>& tensors, const std::string& path);

// Evaluates the rule: the operations inside fail, with all of these texts in the message. *Collective* as the body.
void IsRefused(Trial& t, std::string_view what, const std::vector<std::string>& texts,
               const std::function<void()>& body);
// The same of operations that rank 0 alone does; evaluated on every rank. *Collective*.
void IsRefusedOnRank0(Trial& t, std::string_view what, const std::function<void()>& body);

}  // namespace shardcts::storage
