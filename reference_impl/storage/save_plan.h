// Who writes what: each chunk once, balanced over the ranks that hold it. Only layouts go in, so the plan of any number
// of ranks can be made on one. Every rank makes the same plan. *Local*.
#pragma once

#include <c10/core/ScalarType.h>

#include <map>
#include <string>
#include <vector>

#include "contract/value.h"
#include "storage/flat_state.h"
#include "storage/layout.h"

namespace shardcts::reference {

// What one rank has under one name.
struct SaveNote {
  std::string name;
  Path path;
  bool is_tensor = false;
  at::ScalarType dtype = at::kFloat;  // of a tensor, as all below
  std::vector<int64_t> shape;
  std::vector<Box> boxes;  // that the rank holds
};

Value NotesToValue(const std::vector<SaveNote>& notes);
std::vector<SaveNote> NotesFrom(const Value& value);

struct PlannedChunk {
  Box box;
  int64_t writer = 0;  // in the group
};

struct PlannedEntry {
  SaveNote entry;                   // without boxes
  std::vector<PlannedChunk> chunks;  // of a tensor, in the order of their offsets; none empty, but for a tensor
                                     // without elements, which has one
  int64_t owner = 0;                 // of a plain value: the rank whose value is saved
};

// What all ranks of the group together have under one name.
struct HeldEntry {
  SaveNote entry;  // its boxes do not count
  int64_t first_rank = 0;
  std::map<Box, std::vector<int64_t>> holders = {};  // of each box that is not empty, ascending
  std::vector<int64_t> ranks = {};  // that hold any part of a tensor, even an empty one
};

// RuntimeError: as the next function, chunks that do not tile the tensor.
std::vector<PlannedEntry> PlanSave(const std::vector<HeldEntry>& held, int64_t ranks, bool lowest_rank);
// `by_rank`: what each rank of the group has. The names in the order in which the first rank has them, then those that
// it lacks. RuntimeError, naming the key: a tensor under a name that is a plain value elsewhere, ranks that disagree on
// shape or dtype, chunks that do not tile the tensor.
// `lowest_rank`: what several ranks hold is written by the lowest of them.
std::vector<PlannedEntry> PlanSave(const std::vector<std::vector<SaveNote>>& by_rank, bool lowest_rank = false);

}  // namespace shardcts::reference
