// Mutants of names: keys that are wrong, missing or out of order.
#include <algorithm>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

// "0.in_proj.weight" -> "0._fsdp_wrapped_module.in_proj.weight"
void LeakPrefix(MutantState&, const Handle&, Dict& entries) {
  Dict renamed;
  for (auto& [key, value] : entries) {
    std::string name = ToString(key);
    const size_t first = name.find('.');
    if (first != std::string::npos && name.find('.', first + 1) != std::string::npos) {
      name.insert(first + 1, "_fsdp_wrapped_module.");
    }
    renamed.Set(name, value);
  }
  entries = renamed;
}

void DropLast(MutantState&, const Handle&, Dict& entries) {
  if (!entries.empty()) entries.Erase(std::prev(entries.end())->key);
}

void Reverse(MutantState&, const Handle&, Dict& entries) {
  Dict reversed;
  for (auto entry = entries.end(); entry != entries.begin();) {
    --entry;
    reversed.Set(entry->key, entry->value);
  }
  entries = reversed;
}

// Keeps the first name of each tied tensor only.
void DropAliases(MutantState&, const Handle&, Dict& entries) {
  std::set<const void*> seen;
  Dict kept;
  for (auto& [key, value] : entries) {
    const DTensor* dtensor = value.TryAs<DTensor>();
    if (dtensor && !seen.insert(dtensor->local.storage().data()).second) continue;
    kept.Set(key, value);
  }
  entries = kept;
}

void ForgetMissing(MutantState&, const Dict&, Value& result) { result.AsDict().Set("missing_keys", List{}); }

}  // namespace

std::vector<MutantRow> NameMutants() {
  return {
      {{"state_dict_prefix_leaks",
        "the wrapper's prefix stays in the keys below the first level",
        "wrapper prefix leaks at a nested level",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C5"}},
       OnStateDict(LeakPrefix)},
      {{"state_dict_drops_last_key",
        "the last entry of a state dict is missing",
        "an entry is lost",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C5", "test_rank0_offload_full_state_dict C1"}},
       OnStateDict(DropLast)},
      {{"state_dict_reversed",
        "entries come in reverse order",
        "order of keys differs from the plain module",
        kFullyShardSuite,
        {"test_dp_state_dict_save_load C5", "test_rank0_offload_full_state_dict C2"}},
       OnStateDict(Reverse)},
      {{"tied_alias_dropped",
        "a tied weight is saved under its first name only",
        "sharded save misses alias names",
        kFullyShardSuite,
        {"test_rank0_offload_full_state_dict C1", "test_rank0_offload_full_state_dict C2"}},
       OnStateDict(DropAliases)},
      {{"missing_keys_unreported",
        "load_state_dict(strict=False) says that no key is missing",
        "strictness is wrong",
        kFullyShardSuite,
        {"test_dp_state_dict_cpu_offload C1"}},
       OnResult("model.load_state_dict", ForgetMissing)},
  };
}

}  // namespace shardcts
