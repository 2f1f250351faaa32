// Mutants of the rules of the suite storage: saves in the background.
#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <optional>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

constexpr int64_t kNoSave = -1;

int64_t SaveOf(const Dict& arguments) { return arguments.At("save").AsHandle().id; }

// The saves that nobody has waited for yet, by handle.
struct Pending {
  std::map<int64_t, Dict> arguments;
  std::map<int64_t, Dict> earlier;  // of the save that it is mixed with
};

enum class Folders { kOne, kTwo };

Folders FoldersOf(const Dict& one, const Dict& other) {
  return one.At("path").AsString() == other.At("path").AsString() ? Folders::kOne : Folders::kTwo;
}

// Once more, with what the tensors are when the save is waited for.
Mutation SaveAgainAtWait() {
  const auto pending = std::make_shared<Pending>();
  return [pending](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    if (operation == "implementation.reset") pending->arguments.clear();
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (!outcome.ok()) return outcome;
    if (operation == "storage.save_async") pending->arguments[outcome.value().AsHandle().id] = arguments;
    if (operation != "storage.wait" || !pending->arguments.contains(SaveOf(arguments))) return outcome;
    state.Require("storage.save", pending->arguments.at(SaveOf(arguments)));
    pending->arguments.erase(SaveOf(arguments));
    return outcome;
  };
}

// A rank that has not failed itself hears of no error; all errors come out of the wait.
Mutation HideErrorsOfOthers() {
  const auto own = std::make_shared<std::optional<Error>>();
  return [own](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    if (operation == "storage.wait" && SaveOf(arguments) == kNoSave) return *own ? Outcome(**own) : Outcome(Value());
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation != "storage.save_async" || outcome.ok()) return outcome;
    const std::string rank = "rank " + std::to_string(state.context.rank) + ":";
    own->reset();
    if (outcome.error().message.find(rank) != std::string::npos) *own = outcome.error();
    return Value(Handle{"save", kNoSave});
  };
}

// Of two saves that are under way at once, to one folder or to two, the first's first entry is the second's.
Mutation MixSaves(Folders folders) {
  const auto pending = std::make_shared<Pending>();
  return [pending, folders](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    if (operation == "implementation.reset") *pending = {};
    if (operation == "storage.save_async") {
      for (const auto& [id, other] : pending->arguments) {
        if (FoldersOf(arguments, other) == folders) pending->earlier[id] = arguments;
      }
    }
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (!outcome.ok()) return outcome;
    if (operation == "storage.save_async") pending->arguments[outcome.value().AsHandle().id] = arguments;
    if (operation != "storage.wait") return outcome;
    const int64_t id = SaveOf(arguments);
    if (pending->earlier.contains(id)) {
      Dict mixed = pending->arguments.at(id);
      Dict& entries = mixed.Find("state_dict")->AsDict();
      const std::string first = entries.Keys().front();
      entries.Set(first, pending->earlier.at(id).At("state_dict").AsDict().At(first));
      state.Require("storage.save", mixed);
    }
    pending->arguments.erase(id);
    return outcome;
  };
}

// Steps of an optimizer are left out while a save is under way.
Mutation NoStepsWhileSaving() {
  const auto under_way = std::make_shared<int>(0);
  return [under_way](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    if (operation == "implementation.reset") *under_way = 0;
    if (operation == "optimizer.step" && *under_way > 0) return Value();
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation == "storage.save_async" && outcome.ok()) ++*under_way;
    if (operation == "storage.wait") --*under_way;
    return outcome;
  };
}

}  // namespace

std::vector<MutantRow> StorageBackgroundMutants() {
  return {
      StorageRule("AS1", "storage_staged_late", "a save in the background takes values when it is waited for",
                  "pytorch/pytorch#144657", SaveAgainAtWait()),
      StorageRule("AS2", "storage_async_errors_hidden", "an error of another rank's save in the background is not told",
                  "a future that nobody asks", HideErrorsOfOthers(), 3),
      StorageRule("AS4", "storage_saves_mixed", "an entry of a second save gets into the first one's checkpoint",
                  "two writers of one folder", MixSaves(Folders::kOne), 2),
      StorageRule("AS5", "storage_steps_dropped", "optimizers do not step while a save is under way",
                  "a training that waits for its checkpoint", NoStepsWhileSaving()),
      StorageRule("AS6", "storage_never_done", "a save that has ended is said to be under way", "a flag that nobody sets",
                  OnResult("storage.progress",
                           [](MutantState&, const Dict&, Value& progress) { progress.AsDict().Set("done", false); })),
      StorageRule("AS7", "storage_staged_apart", "each tensor of a staged copy has memory of its own",
                  "ties and views are lost", OnResult("storage.stage", [](MutantState&, const Dict&, Value& staged) {
                    ForEachLocal(staged, [](at::Tensor& local) { local = local.clone(); });
                  })),
      StorageRule("AS9", "storage_saves_share_results", "an entry of a save to another folder gets into a checkpoint",
                  "megatron-core 0.16.1: results of all saves in one queue", MixSaves(Folders::kTwo)),
  };
}

}  // namespace shardcts
