#include <ATen/ATen.h>

#include "rank/trial.h"
#include "suites/fully_shard_state_dict/ports.h"

namespace shardcts::fully_shard_state_dict {
namespace {

constexpr size_t kEntries = 29;
constexpr size_t kDistinctParameters = 28;

// Both names of the tied weight are one parameter, before and after sharding.
void CheckTie(Trial& t, const Model& model) {
  t.Strict("C5", Equal("distinct parameters", kDistinctParameters, model.Parameters().size()));
  const Dict all = model.Parameters(false);
  t.Strict("C5", Equal("parameters under all names", kEntries, all.size()));
  t.Strict("C5", Equal("storage of output.weight and tok_embeddings.weight",
                       StoragePointer(all.At("tok_embeddings.weight")), StoragePointer(all.At("output.weight"))));
}

}  // namespace

// Gathers the full state dict to rank 0, entry by entry.
PORT(test_rank0_offload_full_state_dict) {
  t.subject().Seed(42);
  Model reference = t.subject().Build("transformer", {{"dropout_p", 0.0}}, t.device());
  reference.BroadcastParameters(0);
  Model model = reference.Copy();
  for (const char* path : {"layers.0", "layers.1", ""}) model.FullyShard(path);

  const Dict sharded = model.StateDict();
  const Dict expected = reference.StateDict();
  Dict gathered;
  for (const auto& [name, value] : sharded) {
    const Value full = t.subject().FullTensor(value);
    if (t.rank() == 0) gathered.Set(name, t.subject().To(full, "cpu"));
  }

  if (t.rank() != 0) {
    t.Check("C6", Equal("gathered entries on this rank", size_t{0}, gathered.size()));
    return;
  }
  t.Check("C1", Equal("entries", expected.size(), gathered.size()));
  t.Strict("C1", Equal("entries", kEntries, gathered.size()));
  t.Check("C2", SameNames("state-dict keys", expected.Keys(), gathered.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* actual = gathered.Find(name);
    if (!actual) continue;  // C2 has failed already
    const at::Tensor reference_value = value.AsTensor().cpu();
    t.Check("C3", Holds(actual->AsTensor().device().is_cpu(), ToString(name),
                        "expected on cpu, actual " + ToString(*actual)));
    t.Check("C4",
            Equal(ToString(name) + ": device", reference_value.device().str(), actual->AsTensor().device().str()));
    t.Check("C5", SameValue(ToString(name), reference_value, *actual));
  }
  CheckTie(t, model);
}

}  // namespace shardcts::fully_shard_state_dict
