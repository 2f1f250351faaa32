// Aliasing and purity: what a get or a load may change, and what shares storage.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

std::string FormOfOptimizer(const std::string& form) { return form == "local" ? "native" : form; }

// A model after two steps of Adam, with the gradients of a third backward.
struct Trained {
  Model model;
  Optimizer optimizer;
  BatchPart part;
};

Trained BuildWithGradients(Trial& t, const std::string& wrapper) {
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const BatchPart part = PartOf(t, wrapper);
  Train(t, model, {optimizer}, 0, 2, part);
  Accumulate(t, model, 2, part);
  return {model, optimizer, part};
}

void StepOnce(Trained& trained) { trained.optimizer.Step(); }

Dict CopyOf(Trial& t, const Dict& tensors) { return t.subject().Clone(tensors).AsDict(); }

// Everything of a model and its optimizer that a get must leave alone, copied.
Dict SnapshotOf(Trial& t, const Trained& trained, const std::string& wrapper) {
  Dict snapshot{{"parameters", CopyOf(t, trained.model.Parameters())},
                {"gradients", CopyOf(t, trained.model.Gradients())},
                {"optimizer", CopyOf(t, trained.optimizer.StateDict())}};
  if (wrapper.starts_with("fsdp")) snapshot.Set("state-dict type", GetStateDictType(trained.model));
  return snapshot;
}

std::string Addresses(const Dict& tensors) {
  std::string text;
  for (const auto& [name, value] : tensors) text += fmt::format("{}@{:x} ", ToString(name), DataPointer(value));
  return text;
}

std::string Flags(const Dict& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters) {
    const auto* dtensor = value.TryAs<DTensor>();
    const bool requires_grad = dtensor ? dtensor->requires_grad : value.AsTensor().requires_grad();
    text += fmt::format("{}: {} ", ToString(name), requires_grad ? "trainable" : "frozen");
  }
  return text;
}

// What the rank's generator draws next after this seed and the body.
at::Tensor DrawnAfter(Trial& t, const std::function<void()>& body) {
  t.subject().Seed(7);
  body();
  const Model drawn = t.subject().Build("linear", {{"in", 3}, {"out", 2}});
  return LocalPart(drawn.Parameters().At("weight")).detach().clone();
}

void GetBoth(Trained& trained, const std::string& form) {
  GetState(trained.model, form);
  GetOptimizerState(trained.model, {trained.optimizer}, FormOfOptimizer(form));
}

// Each tensor that the state dict holds, by its path.
std::vector<std::pair<std::string, Value>> TensorsIn(const Dict& state) {
  std::vector<std::pair<std::string, Value>> tensors;
  ForEachTensor("", state, [&](const std::string& path, const Value& tensor) { tensors.emplace_back(path, tensor); });
  return tensors;
}

// Overwrites what a state dict holds, as its owner may.
void Overwrite(Trial& t, const Dict& state, double value) {
  for (const auto& [path, tensor] : TensorsIn(state)) {
    const auto* plain = tensor.TryAs<Tensor>();
    t.subject().Fill(tensor, plain && plain->data.scalar_type() == at::kBool ? 1 : value);
  }
}

Dict Both(const Dict& model, const Dict& optimizer) { return {{"model", model}, {"optimizer", optimizer}}; }

// `state` was taken from it.
void OutlivesAStep(Trial& t, const std::string& what, Trained& trained, const Dict& state) {
  const Dict copy = CopyOf(t, state);
  StepOnce(trained);
  t.Rule(SameValue(what + " after a step of what it was taken from", copy, state));
}

}  // namespace

RULE(AL1) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Trained trained = BuildWithGradients(t, wrapper);
  const Dict parameters = trained.model.Parameters();
  const std::string addresses = Addresses(parameters), flags = Flags(parameters);
  const at::Tensor drawn = DrawnAfter(t, [] {});
  const Dict before = SnapshotOf(t, trained, wrapper);
  const at::Tensor drawn_after_get = DrawnAfter(t, [&] { GetBoth(trained, form); });
  const Dict after = SnapshotOf(t, trained, wrapper);
  for (const auto& [part, value] : before) {
    t.Rule(SameValue(ToString(part) + " after a get", value, after.At(part)));
  }
  t.Rule(Equal("addresses of the parameters", addresses, Addresses(trained.model.Parameters())));
  t.Rule(Equal("requires_grad", flags, Flags(trained.model.Parameters())));
  t.Rule(SameValue("the next random numbers", drawn, drawn_after_get));
}

RULE(AL2) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string kind = t.TextParam("optimizer");
  const BatchPart part = PartOf(t, wrapper);
  Model plain = BuildTrained(t, TrainedStack(), wrapper);
  Model saved = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer of_plain = t.subject().CreateOptimizer(plain, kind, TrainingOptions(kind));
  const Optimizer of_saved = t.subject().CreateOptimizer(saved, kind, TrainingOptions(kind));
  GetOptimizerState(saved, {of_saved}, t.TextParam("form"));
  Train(t, plain, {of_plain}, 0, 3, part);
  Train(t, saved, {of_saved}, 0, 3, part);
  SameState(t, "trained after a get of the fresh optimizer", TrainedParameters(plain, wrapper),
            TrainedParameters(saved, wrapper));
}

RULE(AL3) {
  const std::string form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  if (t.BoolParam("has_state")) optimizer.InitState();
  const auto hook_runs = [&] {
    return Require(model.caller(), "optimizer.hook_runs", {{"optimizer", optimizer.handle()}});
  };
  hook_runs();  // puts them there
  const auto ran = [&](const std::string& when, int64_t expected) {
    const Dict runs{{"before", expected}, {"after", expected}};
    t.Rule(SameValue("hooks of steps after " + when, runs, hook_runs()));
  };
  const Dict state = GetOptimizerState(model, {optimizer}, form);
  ran("a get", 0);
  SetOptimizerState(model, {optimizer}, form, state);
  ran("a load", 0);
  optimizer.Step();
  ran("a step", 1);
}

RULE(AL4) {
  const std::string form = t.TextParam("form");
  Trained trained = BuildWithGradients(t, t.TextParam("wrapper"));
  const auto get = [&] {
    return Both(GetState(trained.model, form),
                GetOptimizerState(trained.model, {trained.optimizer}, FormOfOptimizer(form)).At("state").AsDict());
  };
  const Dict live = get();
  const Dict copy = CopyOf(t, live);
  StepOnce(trained);
  t.Rule(SameValue("entries taken before a step, after it", get(), live));
  t.Rule(Holds(!Compare(copy, live).Equal(), "a step", "must change the entries"));
}

RULE(AL5) {
  const std::string form = t.TextParam("form");
  Trained trained = BuildWithGradients(t, t.TextParam("wrapper"));
  const Dict model = GetState(trained.model, form);
  const Dict optimizer = GetOptimizerState(trained.model, {trained.optimizer}, form);
  OutlivesAStep(t, "the whole state", trained, Both(model, optimizer));
}

RULE(AL6) {
  Trained trained = BuildWithGradients(t, t.TextParam("wrapper"));
  const StateDictOptions options = {.cpu_offload = true};
  const Dict model = GetModelStateDict(trained.model, options);
  const Dict optimizer = GetOptimizerStateDict(trained.model, {trained.optimizer}, options);
  OutlivesAStep(t, "offloaded state", trained, Both(model, optimizer));
}

// The rate is one tensor, which a schedule changes in place.
RULE(AL14) {
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  const at::Tensor rate = at::scalar_tensor(0.5, at::kFloat);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr_tensor = rate});
  const Dict saved = GetOptimizerState(model, {optimizer}, t.TextParam("form"));
  const Value before = t.subject().Clone(saved);
  optimizer.Schedule(0.5);
  optimizer.AdvanceSchedule();
  t.Rule(SameValue("the saved state after the schedule", before, saved));
  const Value& changed = optimizer.StateDict().At("param_groups").AsList().at(0).AsDict().At("lr");
  t.Rule(SameValue("the optimizer's rate", at::scalar_tensor(0.25, at::kFloat), changed));
}

RULE(AL7) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Trained source = BuildWithGradients(t, wrapper);
  const Dict model = CopyOf(t, GetState(source.model, form));
  const Dict optimizer = CopyOf(t, GetOptimizerState(source.model, {source.optimizer}, FormOfOptimizer(form)));
  Trained first = BuildWithGradients(t, wrapper);
  Trained second = BuildWithGradients(t, wrapper);
  Model fresh = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer without_state = t.subject().CreateOptimizer(fresh, "adam", TrainingOptions("adam"));
  for (Trained* target : {&first, &second}) {
    SetState(target->model, form, model);
    SetOptimizerState(target->model, {target->optimizer}, FormOfOptimizer(form), optimizer);
  }
  SetOptimizerState(fresh, {without_state}, FormOfOptimizer(form), optimizer);
  const Dict loaded = SnapshotOf(t, second, wrapper);
  const Dict loaded_fresh = CopyOf(t, without_state.StateDict());
  StepOnce(first);
  const Dict after_step = SnapshotOf(t, second, wrapper);
  Overwrite(t, model, 3);
  Overwrite(t, optimizer, 3);
  const Dict after_overwrite = SnapshotOf(t, second, wrapper);
  t.Rule(SameValue("state of an optimizer that had none, after the loaded dict was overwritten", loaded_fresh,
                   without_state.StateDict()));
  for (const char* part : {"parameters", "optimizer"}) {
    t.Rule(SameValue(fmt::format("{} after a step of another model that loaded the same dict", part), loaded.At(part),
                     after_step.At(part)));
    t.Rule(SameValue(fmt::format("{} after the loaded dict was overwritten", part), loaded.At(part),
                     after_overwrite.At(part)));
  }
}

RULE(AL8) {
  const std::string form = t.TextParam("form");
  Trained source = BuildWithGradients(t, t.TextParam("wrapper"));
  const Dict model = CopyOf(t, GetState(source.model, form));
  const Dict optimizer = CopyOf(t, GetOptimizerState(source.model, {source.optimizer}, FormOfOptimizer(form)));
  const Dict copy = CopyOf(t, Both(model, optimizer));
  for (const std::string& wrapper : {t.TextParam("wrapper"), t.TextParam("loaded_into")}) {
    Model target = BuildCoded(t, TrainedStack());
    Wrap(t, target, TrainedStack(), wrapper);
    const Optimizer target_optimizer = t.subject().CreateOptimizer(target, "adam", TrainingOptions("adam", 4));
    SetState(target, form, model);
    SetOptimizerState(target, {target_optimizer}, FormOfOptimizer(form), optimizer);
    t.Rule(SameValue("the argument after a load into " + wrapper, copy, Both(model, optimizer)));
    const auto whole = [&](Model& of, const Optimizer& by) {
      return WholeDict(t, Both(GetState(of, form), GetOptimizerState(of, {by}, form).At("state").AsDict()));
    };
    const Dict expected = whole(source.model, source.optimizer);
    t.Rule(SameValue("what " + wrapper + " has loaded", expected, InOrderOf(expected, whole(target, target_optimizer))));
  }
}

RULE(AL9) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const BatchPart part = PartOf(t, wrapper);
  Model source = BuildTrained(t, TrainedStack(), wrapper);
  const Dict saved = CopyOf(t, GetState(source, form));

  const bool before_wrapping = t.TextParam("optimizer_made") == "before_wrapping";
  Model model = BuildCoded(t, TrainedStack());
  std::optional<Optimizer> early;
  if (before_wrapping) early = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Wrap(t, model, TrainedStack(), wrapper);
  if (!before_wrapping) early = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  const std::string addresses = Addresses(model.Parameters());
  SetState(model, form, saved);
  t.Rule(Equal("addresses of the parameters after a load", addresses, Addresses(model.Parameters())));

  const Optimizer late = t.subject().CreateOptimizer(source, "adam", TrainingOptions("adam"));
  Train(t, source, {late}, 0, 2, part);
  Train(t, model, {*early}, 0, 2, part);
  SameState(t, "stepped by an optimizer that is older than the load", TrainedParameters(source, wrapper),
            TrainedParameters(model, wrapper));
}

RULE(AL10) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Trained trained = BuildWithGradients(t, wrapper);
  const Dict gradients = CopyOf(t, trained.model.Gradients());
  const Dict model = CopyOf(t, GetState(trained.model, form));
  const Dict optimizer = CopyOf(t, GetOptimizerState(trained.model, {trained.optimizer}, FormOfOptimizer(form)));
  t.Rule(SameValue("gradients after a get", gradients, trained.model.Gradients()));
  SetState(trained.model, form, model);
  t.Rule(SameValue("gradients after a load of the model", gradients, trained.model.Gradients()));
  SetOptimizerState(trained.model, {trained.optimizer}, FormOfOptimizer(form), optimizer);
  t.Rule(SameValue("gradients after a load of the optimizer", gradients, trained.model.Gradients()));
}

RULE(AL11) {
  const std::string form = t.TextParam("form");
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = {.name = "tied_embedding", .args = {{"vocab", 11}, {"dim", 3}}};
  const Model twin = BuildCoded(t, spec);
  Model model = BuildWrapped(t, spec, wrapper);
  const Dict entries = GetState(model, form);
  // FULL gives clones under every name.
  const bool ties_share = form != "full" && form != "sharded";
  const auto tied = [&](const std::string& name) { return ties_share && name.ends_with("weight"); };
  double value = 1;
  for (const auto& [name, filled] : entries) {
    const Dict before = CopyOf(t, entries);
    t.subject().Fill(filled, ++value);
    for (const auto& [other, kept] : entries) {
      if (other == name || (tied(ToString(other)) && tied(ToString(name)))) continue;
      t.Rule(SameValue(fmt::format("{} after {} was filled", ToString(other), ToString(name)), before.At(other), kept));
    }
  }
}

RULE(AL12) {
  const std::string wrapper = t.TextParam("wrapper");
  Trained plain = BuildWithGradients(t, wrapper);
  Trained edited = BuildWithGradients(t, wrapper);
  const Dict before = CopyOf(t, edited.optimizer.StateDict());
  Dict arguments{{"model", edited.model.handle()}, {"optimizers", List{edited.optimizer.handle()}}};
  const std::string form = t.TextParam("form");
  if (form == "dsd_full") arguments.Set("options", Dict{{"full_state_dict", true}});
  if (form == "dsd_flat") arguments.Set("options", Dict{{"flatten_optimizer_state_dict", true}});
  Require(edited.model.caller(), "dsd.edit_optimizer_state_dict", arguments);
  t.Rule(SameValue("the optimizer after an edit of its state dict", before, edited.optimizer.StateDict()));
  StepOnce(plain);
  StepOnce(edited);
  SameState(t, "after the next step", TrainedParameters(plain.model, wrapper), TrainedParameters(edited.model, wrapper));
}

RULE(AL13) {
  const std::string wrapper = t.TextParam("wrapper");
  // Even at two ranks: a padded shard is moved to storage of its own.
  const ModelSpec spec = {.name = "tied_embedding", .args = {{"vocab", 12}, {"dim", 3}}};
  Model source = BuildWrapped(t, spec, wrapper);
  const Dict given = CopyOf(t, GetState(source, "native"));
  Model model = BuildCoded(t, spec);
  model.Fill(-1);
  Wrap(t, model, spec, wrapper);
  model.LoadStateDict(given, {.assign = true});
  const Dict parameters = model.Parameters(/*remove_duplicate=*/false);
  for (const auto& [name, value] : given) {
    t.Rule(Equal(ToString(name) + ": address", StoragePointer(value), StoragePointer(parameters.At(name))));
    t.Rule(SameValue(ToString(name), value, parameters.At(name)));
  }
  const Value before = t.subject().Clone(given.At("decoder.weight"));
  t.subject().Fill(given.At("embedding.weight"), 5);
  t.Rule(SameValue("the other name of what was tied", before,
                   model.Parameters(/*remove_duplicate=*/false).At("decoder.weight")));
  t.Rule(AllElementsAre("the name that was filled", 5, model.Parameters().At("embedding.weight")));
}

RULE(AL15) {
  const ModelSpec spec = TreeSpec(LinearNode(4, {{"buffers", Dict{{"kept", TensorNode({3, 2})}}}}));
  Model source = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const Dict given = CopyOf(t, GetState(source, "native"));
  Model model = BuildCoded(t, spec);
  model.Fill(-1, /*buffers=*/true);
  Wrap(t, model, spec, t.TextParam("wrapper"));
  model.LoadStateDict(given, {.assign = true});
  t.Rule(Equal("kept: address", StoragePointer(given.At("kept")), StoragePointer(model.Buffers().At("kept"))));
  t.Rule(SameValue("kept", given.At("kept"), model.Buffers().At("kept")));
}

RULE(AL16) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(4), Dict{{"kind", "batch_norm"}}}}});
  Model model = BuildWrapped(t, spec, wrapper);
  const Dict saved = GetState(model, form);
  const Dict before = CopyOf(t, saved);
  model.Fill(7, /*buffers=*/true);
  for (const char* name : {"1.running_mean", "1.running_var", "1.num_batches_tracked"}) {
    t.Rule(SameValue(name, before.At(name), saved.At(name)));
  }
}

// State that no unit has cut: of parameters that it ignores, and over one rank or with NO_SHARD.
RULE(AL17) {
  const std::string uncut = t.TextParam("uncut");
  const BatchPart part = PartOf(t, "fsdp");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  FsdpOptions options{.use_orig_params = true};
  if (uncut == "NO_SHARD") options.sharding_strategy = "NO_SHARD";
  if (uncut == "ignored") options.ignored_modules = {"1"};
  WrapFsdp(model, "", options);
  Trained trained{model, t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam")), part};
  Train(t, model, {trained.optimizer}, 0, 2, part);
  Accumulate(t, model, 2, part);
  OutlivesAStep(t, "offloaded state", trained, GetOptimizerState(model, {trained.optimizer}, "full"));
}

RULE(AL18) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  std::vector<std::string> first, others;
  for (const std::string& name : model.Parameters().Keys()) (name.starts_with("0.") ? first : others).push_back(name);
  const std::vector<Optimizer> optimizers = {t.subject().CreateOptimizer(model, "adam", {}, {{first}}),
                                             t.subject().CreateOptimizer(model, "adam", {}, {{others}})};
  const BatchPart part = PartOf(t, wrapper);
  Train(t, model, optimizers, 0, 1, part);
  const Dict saved = GetOptimizerState(model, optimizers, "dsd_full");
  const Dict before = t.subject().Clone(saved).AsDict();
  Train(t, model, optimizers, 1, 2, part);
  t.Rule(SameValue("what was saved, after a further step", before, saved));
}

RULE(AL19) {
  const std::string kind = t.TextParam("optimizer"), wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, kind, TrainingOptions(kind));
  const BatchPart part = PartOf(t, wrapper);
  Accumulate(t, model, 0, part);
  optimizer.Step();
  const Value before = t.subject().Clone(optimizer.StateDict());
  Accumulate(t, model, 1, part);  // onto the gradients of the first
  t.Rule(SameValue("state after a further backward", before, optimizer.StateDict()));
}

RULE(AL20) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  DTensor partial{.local = Coded({5, 2}, t.rank()).to(c10::Device(t.device())),
                  .mesh = mesh.Layout(),
                  .placements = {Placement::Partial()},
                  .shape = {5, 2},
                  .stride = {2, 1}};
  at::Tensor sum = at::zeros({5, 2});
  for (int rank = 0; rank < t.world_size(); ++rank) sum.add_(Coded({5, 2}, rank));
  for (const char* when : {"the first time", "the second time"}) {
    const Value whole = t.subject().Redistribute(partial, {Placement::Replicate()});
    t.Rule(SameValue(fmt::format("the sum, {}", when), sum, LocalPart(whole).to(at::kCPU)));
    t.Rule(SameValue(fmt::format("the rank's own part, reduced {}", when), Coded({5, 2}, t.rank()), partial.local.to(at::kCPU)));
  }
}

RULE(AL21) {
  const std::string wrapper = t.TextParam("wrapper"), name = "1.weight";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Value parameter = model.Parameters().At(name), clone = t.subject().Clone(parameter);
  const auto* distributed = clone.TryAs<DTensor>();
  t.Rule(Equal("whether the clone requires a gradient", false,
               distributed ? distributed->requires_grad : clone.AsTensor().requires_grad()));
  if (distributed) t.Rule(Equal("whether the clone is a parameter", false, distributed->is_parameter));
  const Value before = t.subject().Clone(clone);
  model.Fill(-1);
  t.Rule(SameValue("the clone after a change of the parameter", before, clone));
}

RULE(AL22) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const Placement placement = t.TextParam("placement") == "rows" ? Placement::Shard(0) : Placement::Replicate();
  const at::Tensor given = Coded({5, 2}, t.rank()).to(c10::Device(t.device()));
  const Value placed = t.subject().Distribute(given, mesh, {placement});
  t.Rule(SameValue("what was given", Coded({5, 2}, t.rank()), given.to(at::kCPU)));
  t.subject().Fill(placed, -1);
  t.Rule(SameValue("what was given, after a change of the result", Coded({5, 2}, t.rank()), given.to(at::kCPU)));
}

RULE(AL23) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Dict live = GetState(model, form), copy = CopyOf(t, live);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", TrainingOptions("sgd"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  t.Rule(SameValue("entries taken before the first forward, after a step", GetState(model, form), live));
  t.Rule(Holds(!Compare(copy, live).Equal(), "a step", "must change the entries"));
}

RULE(AL24) {
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  const auto make = [&](double lr) {
    return t.subject().CreateOptimizer(model, "adam", {.lr_tensor = at::scalar_tensor(lr, at::kFloat)},
                                       {{model.Parameters().Keys(), {}}}, /*named=*/true);
  };
  Optimizer saving = make(0.5), loading = make(4);
  saving.InitState();
  loading.InitState();
  const Dict given = t.subject().Clone(saving.StateDict()).AsDict();
  const Dict before = CopyOf(t, given);
  loading.LoadStateDict(given);
  loading.Schedule(0.5);
  loading.AdvanceSchedule();
  Train(t, model, {loading}, 0, 1, PartOf(t, t.TextParam("wrapper")));
  t.Rule(SameValue("what was loaded, after a step of the schedule and of the optimizer", before, given));
}

}  // namespace shardcts::extended
