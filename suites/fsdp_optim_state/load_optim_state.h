// Upstream's two procedures that save the optimizer state of one model and convert it for another one, which may have
// other units, fewer ranks, or an optimizer with another order of parameters: _test_load_optim_state with the
// deprecated functions, _test_load_optim_state_with_optim_state_dict with the current ones. *Collective*.
#pragma once

#include "suites/fsdp_optim_state/comparisons.h"
#include "suites/fsdp_optim_state/training.h"

namespace shardcts::fsdp_optim_state {

struct LoadCase {
  ModelKind kind = ModelKind::kNested;
  bool multiple_groups = false;
  bool halve_world_size = false;  // the second model is on the even ranks only
  // Of the second model only:
  bool wrap_alt = false;
  bool diff_optim_inputs = false;
  bool use_orig_params = false;
};

enum class LegacyFunctions { kShardFull, kScatterFull, kFlattenSharded };

// Groups and state of the second model's own state dict, then of the first's, each converted for the second model and
// compared with its optimizer's state; then a load and further training.
struct LoadChecks {
  GroupChecks second_groups;
  StateChecks second_state;
  GroupChecks first_groups;
  StateChecks first_state;
  std::string_view load, train;
};
void LoadWithLegacyFunctions(Trial& t, const LoadChecks& checks, const LoadCase& load_case, LegacyFunctions functions,
                             bool use_optim_input);
void LoadWithOptimStateDict(Trial& t, const LoadChecks& checks, const LoadCase& load_case, StateDictKind kind,
                            bool rank0_only);

}  // namespace shardcts::fsdp_optim_state
