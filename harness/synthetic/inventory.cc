#include "inventory/embedded_suites.h"

namespace shardcts {

std::vector<EmbeddedSuite> EmbeddedSuites() {
  return {{"synthetic", R"({"suite": "synthetic", "tests": [
    {"function": "test_empty", "instances": [{"id": "Synthetic.test_empty"}], "capabilities": ["core"],
     "world_sizes": [1, 2, 4],
     "subtests": [{"hundreds": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "tens": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                   "ones": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}],
     "checks": []},
    {"function": "test_walk", "instances": [{"id": "Synthetic.test_walk"}], "capabilities": ["fsdp2", "optimizer"],
     "world_sizes": [2, 3, 4],
     "subtests": [{"walk": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]}],
     "checks": [{"id": "C1", "what": "the weight after the training is finite", "strength": "strict"}]},
    {"function": "test_handover", "instances": [{"id": "Synthetic.test_handover"}], "capabilities": ["fsdp2"],
     "phases": [{"role": "save", "world": [1, 2, 3]}, {"role": "load", "world": [1, 2, 3]}],
     "subtests": [{"n": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]}],
     "checks": [{"id": "C1", "what": "the folder is empty at the begin", "strength": "strict", "phase": 1},
                {"id": "C2", "what": "what every rank saved is there", "strength": "strict"}]},
    {"function": "test_handover_lost", "instances": [{"id": "Synthetic.test_handover_lost"}], "capabilities": ["fsdp2"],
     "phases": [{"role": "save", "world": 2}, {"role": "load", "world": 3}],
     "checks": [{"id": "C1", "what": "the folder is empty at the begin", "strength": "strict", "phase": 1},
                {"id": "C2", "what": "what every rank saved is there", "strength": "strict"}]}]})",
           ""}};
}

}  // namespace shardcts
