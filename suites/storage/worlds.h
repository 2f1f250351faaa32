// Smaller worlds: some ranks of the pool, as those that a checkpoint is saved or loaded by. *Collective* over the pool.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "contract/storage.h"
#include "rank/trial.h"

namespace shardcts::storage {

class World {
 public:
  // Those ranks, arranged as a mesh of this shape; empty: 1-D. All ranks of the pool, in order: the pool's own world.
  World(Trial& t, std::vector<int64_t> ranks, std::vector<int64_t> mesh_shape = {});

  const std::vector<int64_t>& ranks() const { return ranks_; }
  const MeshLayout& layout() const { return layout_; }
  bool Has(int64_t rank) const;

  // Runs `body` on its ranks.
  void Do(const std::function<void()>& body) const;
  void Save(const Dict& state, const std::string& path, SaveOptions options = {}) const;
  // On its ranks the loaded state, on others an empty one.
  Dict Load(const Dict& destination, const std::string& path, CheckpointLoadOptions options = {}) const;

 private:
  Trial& t_;
  std::vector<int64_t> ranks_;
  std::optional<ProcessGroup> group_;  // absent: all ranks
  MeshLayout layout_;
};

// *Collective*. Every rank goes on when rank 0 has done it.
void Rank0Does(Trial& t, const std::function<void()>& change);

// Whether the phase that runs is one that saves; the others load. *Local*.
bool Saves(const Trial& t);

// The parameter "format", as options take it: of "default" nothing. *Local*.
std::string FormatOf(const Trial& t);

// The first `count` ranks; 0: all.
World FirstRanks(Trial& t, int64_t count = 0, std::vector<int64_t> mesh_shape = {});

}  // namespace shardcts::storage
