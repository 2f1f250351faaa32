// Which rank of its pool this process is, as its launcher says. *Local*.
#pragma once

#include <optional>

namespace shardcts {

struct RankNumber {
  int rank = 0;
  std::optional<int> world_size;  // if the launcher says it
};

// From the environment that launchers set for each process: PMI_RANK, PMIX_RANK, OMPI_COMM_WORLD_RANK, SLURM_PROCID.
// nullopt: none of them is there, or it is no number.
std::optional<RankNumber> RankNumberOfLauncher();

}  // namespace shardcts
