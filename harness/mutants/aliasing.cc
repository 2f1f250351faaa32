// Mutants of aliasing, purity and trajectories: values that are right, and a training that then goes another way.
#include <ATen/ATen.h>

#include <memory>

#include "mutants/mutate.h"

namespace shardcts {
namespace {

const std::vector<std::string> kExtendedSuite = {"extended"};

bool IsModelGet(std::string_view called) {
  return called == "model.state_dict" || called == "dsd.get_model_state_dict";
}
bool IsModelLoad(std::string_view called) {
  return called == "model.load_state_dict" || called == "dsd.set_model_state_dict";
}
bool IsOptimizerLoad(std::string_view called) {
  return called == "optimizer.load_state_dict" || called == "dsd.set_optimizer_state_dict" ||
         called == "fsdp.optim_state_dict_to_load";
}

// Replaces each local tensor in the tree; the name is that of the innermost entry.
using LocalChange = std::function<at::Tensor(const std::string& name, const at::Tensor& local)>;

void ChangeLocals(const std::string& name, Value& value, const LocalChange& change) {
  if (auto* tensor = value.TryAs<Tensor>()) tensor->data = change(name, tensor->data);
  if (auto* dtensor = value.TryAs<DTensor>()) dtensor->local = change(name, dtensor->local);
  if (auto* sharded = value.TryAs<ShardedTensor>()) {
    for (LocalShard& shard : sharded->local_shards) shard.tensor = change(name, shard.tensor);
  }
  if (auto* dict = value.TryAs<Dict>()) {
    for (auto& [key, entry] : *dict) ChangeLocals(ToString(key), entry, change);
  }
  if (auto* list = value.TryAs<List>()) {
    for (Value& entry : *list) ChangeLocals(name, entry, change);
  }
}

// Changes what is loaded before it gets there.
Mutation OnLoaded(bool (*is_load)(std::string_view), LocalChange change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (is_load(called) && arguments.Contains("state_dict")) {
      ChangeLocals("", *arguments.Find("state_dict"), change);
    }
    return state.inner.Invoke(called, arguments);
  };
}

at::Tensor ZeroIfFirstMoment(const std::string& name, const at::Tensor& local) {
  const bool is_moment = name.ends_with("exp_avg") || name.ends_with("momentum_buffer");
  return is_moment ? at::zeros_like(local) : local;
}

at::Tensor ThroughBfloat16(const std::string&, const at::Tensor& local) {
  return local.scalar_type() == at::kFloat ? local.to(at::kBFloat16).to(at::kFloat) : local;
}

// Of a flat state dict the learning rates become the default.
void DefaultFlatLr(MutantState&, Dict& arguments) {
  Dict state_dict = arguments.At("state_dict").AsDict();
  for (auto& [key, value] : state_dict) {
    const std::string name = ToString(key);
    if (name.starts_with("param_groups.") && name.ends_with(".lr")) value = Value(0.001);
  }
  arguments.Set("state_dict", state_dict);
}

void ScaleLrByWorld(MutantState& state, Dict& arguments) {
  Dict state_dict = arguments.At("state_dict").AsDict();
  Value* groups = state_dict.Find("param_groups");
  if (!groups) return;
  List scaled = groups->AsList();
  for (Value& group : scaled) {
    const double lr = group.AsDict().At("lr").AsDouble();
    group.AsDict().Set("lr", lr * state.context.world_size);
  }
  *groups = scaled;
  arguments.Set("state_dict", state_dict);
}

void SumGradients(MutantState& state, Dict& arguments) {
  if (const Value* gradient = arguments.Find("gradient")) {
    arguments.Set("gradient", gradient->AsTensor() * state.context.world_size);
  }
}

// Runs a get of a model, then another operation.
Mutation AfterModelGet(std::function<void(MutantState&, const Dict& arguments)> then) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (outcome.ok() && IsModelGet(called)) then(state, arguments);
    return outcome;
  };
}

void DropGradients(MutantState& state, const Dict& arguments) {
  state.Require("model.zero_grad", {{"model", arguments.At("model")}});
}

void SeedAgain(MutantState& state, const Dict&) { state.Require("implementation.seed", {{"seed", 99}}); }

Outcome IgnoreSecondLoad(MutantState& state, std::string_view called, Dict& arguments) {
  if (IsModelLoad(called) && !state.marked.insert(arguments.At("model").AsHandle().id).second) {
    return Value(Dict{{"missing_keys", List{}}, {"unexpected_keys", List{}}});
  }
  return state.inner.Invoke(called, arguments);
}

Outcome CopyDsdEntries(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (outcome.ok() && called.starts_with("dsd.get_")) {
    ChangeLocals("", outcome.value(), [](const std::string&, const at::Tensor& local) { return local.detach().clone(); });
  }
  return outcome;
}

using Tensors = std::vector<at::Tensor>;

// Whole and offloaded entries that a get gave change with the next step, as views of what is trained do.
Mutation WholeEntriesFollow() {
  const auto given = std::make_shared<Tensors>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == "implementation.reset") given->clear();
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok()) return outcome;
    if (IsModelGet(called)) {
      const Value* options = arguments.Find("options");
      const bool offloaded = options && options->AsDict().Contains("cpu_offload");
      for (const auto& [name, value] : outcome.value().AsDict()) {
        if (value.TryAs<Tensor>()) given->push_back(value.AsTensor());
        if (const auto* piece = value.TryAs<DTensor>(); piece && offloaded) given->push_back(piece->local);
      }
    }
    if (called == "optimizer.step") {
      for (at::Tensor& tensor : *given) tensor.detach().add_(1);
    }
    return outcome;
  };
}

// A get makes Adam's step with gradients of 0 and a learning rate of 0.
Outcome StepInGet(MutantState& state, std::string_view called, Dict& arguments) {
  if (called == "dsd.get_optimizer_state_dict") {
    Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
    ChangeLocals("", parameters, [](const std::string&, const at::Tensor& local) {
      const at::Tensor zeros = at::zeros_like(local.detach());
      local.detach().add_(zeros / (zeros + 1e-8));
      return local;
    });
  }
  return state.inner.Invoke(called, arguments);
}

// Two optimizers that were loaded from one state dict count their steps together.
Mutation ShareLoadedSteps() {
  const auto loaded = std::make_shared<std::vector<Value>>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == "implementation.reset") loaded->clear();
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok()) return outcome;
    if (called == "dsd.set_optimizer_state_dict") loaded->push_back(arguments.At("optimizers").AsList().front());
    if (called == "fsdp.optim_state_dict_to_load") loaded->push_back(arguments.At("optimizer"));
    if (called != "optimizer.step") return outcome;
    for (const Value& optimizer : *loaded) {
      if (optimizer.AsHandle() == arguments.At("optimizer").AsHandle()) continue;
      Value shared = state.Require("optimizer.state_dict", {{"optimizer", optimizer}});
      ChangeLocals("", shared, [](const std::string& name, const at::Tensor& local) {
        if (name == "step") local.detach().add_(1);
        return local;
      });
    }
    return outcome;
  };
}

// What a load of a model was given is used up.
Outcome ConsumeArgument(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (IsModelLoad(called)) {
    for (const auto& [name, value] : arguments.At("state_dict").AsDict()) {
      if (value.TryAs<Tensor>()) value.AsTensor().detach().zero_();
    }
  }
  return outcome;
}

Outcome MoveAfterDsdLoad(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (outcome.ok() && called == "dsd.set_model_state_dict") {
    state.Require("model.reallocate", {{"model", arguments.At("model")}});
  }
  return outcome;
}

// Equal whole entries become one tensor.
void ShareEqualEntries(MutantState&, const Handle&, Dict& entries) {
  for (auto& [name, value] : entries) {
    for (const auto& [other, first] : entries) {
      if (other == name) break;
      if (first.TryAs<Tensor>() && value.TryAs<Tensor>() && first.AsTensor().equal(value.AsTensor())) value = first;
    }
  }
}

void ForgetAssign(MutantState&, Dict& arguments) { arguments.Erase("assign"); }

// A get of an optimizer changes its momentum.
Outcome DisturbMomentum(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (!outcome.ok() || called != "dsd.get_optimizer_state_dict") return outcome;
  for (const Value& optimizer : arguments.At("optimizers").AsList()) {
    Value live = state.Require("optimizer.state_dict", {{"optimizer", optimizer}});
    ChangeLocals("", live, [](const std::string& name, const at::Tensor& local) {
      if (name == "momentum_buffer") local.detach().add_(1);
      return local;
    });
  }
  return outcome;
}

// A get of an optimizer's state runs the hooks of its steps.
Mutation RunHooksInGet() {
  const auto extra = std::make_shared<int64_t>(0);
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == "implementation.reset") *extra = 0;
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == "dsd.get_optimizer_state_dict") ++*extra;
    if (outcome.ok() && called == "optimizer.hook_runs") {
      for (auto& [when, runs] : outcome.value().AsDict()) runs = runs.AsInt() + *extra;
    }
    return outcome;
  };
}

// An edit of what a get gave reaches the optimizers.
Outcome EditReachesOptimizer(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (called != "dsd.edit_optimizer_state_dict") return outcome;
  for (const Value& optimizer : arguments.At("optimizers").AsList()) {
    Value live = state.Require("optimizer.state_dict", {{"optimizer", optimizer}});
    List groups = live.AsDict().At("param_groups").AsList();
    for (Value& group : groups) group.AsDict().Set("lr", 9.0);
    live.AsDict().Set("param_groups", groups);
    state.Require("optimizer.load_state_dict", {{"optimizer", optimizer}, {"state_dict", live}});
  }
  return outcome;
}

Outcome IgnoreNativeOptimizerLoad(MutantState& state, std::string_view called, Dict& arguments) {
  return called == "optimizer.load_state_dict" ? Outcome(Value()) : state.inner.Invoke(called, arguments);
}

// Groups are loaded, state stays as it is.
void KeepNativeState(MutantState& state, Dict& arguments) {
  Value own = state.Require("optimizer.state_dict", {{"optimizer", arguments.At("optimizer")}});
  Dict loaded = arguments.At("state_dict").AsDict();
  loaded.Set("state", own.AsDict().At("state"));
  arguments.Set("state_dict", loaded);
}

void CountNativeStepsAnew(MutantState&, Dict& arguments) {
  Dict loaded = arguments.At("state_dict").AsDict();
  ForEachEntry(loaded, [](Dict& entry) {
    if (Value* step = entry.Find("step"); step && step->TryAs<Tensor>()) *step = at::zeros_like(step->AsTensor());
  });
  arguments.Set("state_dict", loaded);
}

MutantRow AliasingRow(const char* name, const char* description, const char* models, std::vector<std::string> checks,
              Mutation mutation) {
  return {{name, description, models, kExtendedSuite, std::move(checks), /*min_world_size=*/2}, std::move(mutation)};
}

}  // namespace

std::vector<MutantRow> TrajectoryMutants() {
  return {
      AliasingRow("loaded_moments_zero", "first moments are zero after a load", "state is made anew after it was loaded",
          {"TR1 TR1"}, OnLoaded(IsOptimizerLoad, ZeroIfFirstMoment)),
      AliasingRow("flat_options_lost", "the learning rates of a flat state dict are not loaded", "only state is unflattened",
          {"TR1 TR1"}, OnArguments("dsd.set_optimizer_state_dict", DefaultFlatLr)),
      AliasingRow("gradients_summed", "gradients are summed over the ranks", "the sum is not divided", {"TR2 TR2"},
          OnArguments("model.backward", SumGradients)),
      AliasingRow("loaded_lr_scaled", "a loaded learning rate is multiplied by the number of ranks",
          "the batch is taken to have grown", {"TR3 TR3"}, OnArguments("dsd.set_optimizer_state_dict", ScaleLrByWorld)),
      AliasingRow("get_drops_gradients", "a get of a model drops its gradients", "a get resets what it walks over",
          {"TR4 TR4", "AL1 AL1", "AL10 AL10"}, AfterModelGet(DropGradients)),
      AliasingRow("load_through_bfloat16", "loaded values are rounded to bfloat16", "the shard is made of the compute copy",
          {"TR5 TR5", "RS3 RS3"}, OnLoaded(IsModelLoad, ThroughBfloat16)),
      AliasingRow("second_load_ignored", "only the first load of a model has an effect", "a load into a cached copy",
          {"TR6 TR6"}, IgnoreSecondLoad),
      AliasingRow("native_optimizer_load_ignored", "an optimizer's own load does nothing", "a load is not passed on",
          {"TR12 TR12"}, IgnoreNativeOptimizerLoad),
      AliasingRow("native_optimizer_state_kept", "an optimizer's own load takes the groups only",
          "state of sharded parameters is skipped", {"TR12 TR12"},
          OnArguments("optimizer.load_state_dict", KeepNativeState)),
      AliasingRow("native_optimizer_steps_anew", "steps are counted anew after an optimizer's own load",
          "tensors without dimensions are not loaded", {"TR12 TR12"},
          OnArguments("optimizer.load_state_dict", CountNativeStepsAnew)),
  };
}

std::vector<MutantRow> AliasingMutants() {
  return {
      AliasingRow("get_draws_random", "a get of a model uses the rank's random numbers", "scratch is initialized at random",
          {"AL1 AL1"}, AfterModelGet(SeedAgain)),
      AliasingRow("dsd_entries_copied", "the distributed functions give copies without options, too",
          "a cached state dict goes stale", {"AL4 AL4"}, CopyDsdEntries),
      AliasingRow("whole_entries_follow", "whole and offloaded entries change with the next step",
                  "entries that are plain are not copied", {"AL5 AL5", "AL6 AL6"}, WholeEntriesFollow()),
      AliasingRow("loaded_steps_shared", "optimizers that loaded one state dict share its steps", "loaded tensors are kept",
          {"AL7 AL7"}, ShareLoadedSteps()),
      AliasingRow("load_consumes_argument", "a load leaves zeros in the dict that it was given", "tensors are moved out of it",
          {"AL8 AL8"}, ConsumeArgument),
      AliasingRow("dsd_load_rebinds_storage", "a load of the distributed functions moves the parameters",
          "load rebinds the slot only", {"AL9 AL9"}, MoveAfterDsdLoad),
      AliasingRow("get_disturbs_momentum", "a get of an optimizer changes its momentum", "state is initialized by a step",
          {"AL2 AL2", "TR4 TR4"}, DisturbMomentum),
      AliasingRow("get_divides_by_epsilon", "a get of an optimizer makes a step that is meant to change nothing",
          "0 / 0 in half precision", {"DT14 DT14"}, StepInGet),
      AliasingRow("assign_copies", "assign is taken for a copy", "an option is not passed on", {"AL13 AL13"},
          OnArguments("model.load_state_dict", ForgetAssign)),
      AliasingRow("hooks_run_in_get", "a get of an optimizer runs the hooks of its steps", "state is initialized by a step",
          {"AL3 AL3"}, RunHooksInGet()),
      AliasingRow("edit_reaches_optimizer", "an edit of a saved learning rate reaches the optimizer", "groups are live",
          {"AL12 AL12"}, EditReachesOptimizer),
      AliasingRow("equal_entries_shared", "entries that are equal are one tensor", "tied parameters are cloned once",
          {"AL11 AL11"}, OnStateDict(ShareEqualEntries)),
  };
}

}  // namespace shardcts
