// Ports of e2e/test_e2e_save_and_load.py: trainings that go on from a checkpoint.
#include <ATen/ATen.h>

#include <utility>

#include "contract/dsd.h"
#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"

namespace shardcts::dcp {
namespace {

constexpr double kLr = 0.1;
const Layers kFourNets{.in = 8, .out = {{"net1", 16}, {"net2", 32}, {"net3", 64}, {"net4", 8}}};
// torch.allclose
const CompareOptions kClose{.tolerance = {.rtol = 1e-5, .atol = 1e-8}};

// A model and its Adam.
struct Training {
  Model model;
  Optimizer optimizer;
};

Optimizer AdamOf(Trial& t, const Model& model) { return t.subject().CreateOptimizer(model, "adam", {.lr = kLr}); }

Training PlainTraining(Trial& t) {
  const Model model = BuildLayers(t, kFourNets, 0);
  return {model, AdamOf(t, model)};
}

// Upstream seeds the generator when it makes a model, so that all begin with the same values. The state dicts of model
// and optimizer become the distributed ones.
Training WrappedTraining(Trial& t, const std::string& wrapper, bool compiled = false) {
  Model model = BuildLayers(t, kFourNets, 0);
  if (wrapper == "DDP") {
    WrapDdp(model);
  } else {
    const bool hybrid = wrapper == "HSDP";
    const std::vector<int64_t> shape = hybrid ? std::vector<int64_t>{2, t.world_size() / 2}
                                              : std::vector<int64_t>{t.world_size()};
    WrapFsdp(model, "", {.device_mesh = t.subject().InitMesh(shape),
                         .sharding_strategy = hybrid ? "HYBRID_SHARD" : "",
                         .use_orig_params = true});
  }
  if (compiled) WrapCompile(model);
  Training training{model, AdamOf(t, model)};
  PatchModelStateDict(training.model);
  PatchOptimizerStateDict(training.model, {training.optimizer});
  return training;
}

// The loss of the last step. Every training begins with the same inputs, which are those of all ranks.
at::Tensor Train(Training& training, int64_t steps) {
  at::Tensor loss;
  for (int64_t step = 0; step < steps; ++step) {
    const Value output = training.model.Forward({Uniform({8, 8}, 100 + step)});
    loss = output.AsTensor().detach().sum();
    training.model.Backward(output);
    training.optimizer.Step();
    training.optimizer.ZeroGrad();
  }
  return loss;
}

// Upstream's objects with a state dict: how far the training is, and any tensor.
struct Progress {
  int64_t step = 0;
  float loss = -1;
  std::string losses;
};
Dict StateOf(const Progress& progress) {
  return {{"step", at::full({}, progress.step, at::kInt)},
          {"current_loss", at::full({}, progress.loss, at::kFloat)},
          {"losses", Bytes{progress.losses}}};
}

Dict StateOf(const Training& training, const Progress& progress, int64_t number) {
  return {{"model", training.model.StateDict()},
          {"optimizer", training.optimizer.StateDict()},
          {"s", Dict{{"data", Uniform({10, 10}, number)}}},
          {"train_state", StateOf(progress)}};
}

struct ModelChecks {
  std::string_view count, names, values;
};
// Of a distributed state dict and that of the plain model.
void SameModel(Trial& t, const ModelChecks& checks, const std::string& what, const Dict& expected, const Dict& actual) {
  t.Check(checks.count, Equal(what + ": entries", expected.size(), actual.size()));
  const Dict whole = WholeDict(t, actual);
  for (const auto& [name, value] : expected) {
    const Value* found = whole.Find(name);
    t.Check(checks.names, Holds(found != nullptr, ToString(name), "is missing"));
    if (found) t.Check(checks.values, SameValue(what + ": " + ToString(name), value, *found, kClose));
  }
}

// The optimizer's state dict, gathered, loaded into a new optimizer of the plain model.
void SameOptimizer(Trial& t, std::string_view check, Training& plain, const Dict& distributed) {
  Optimizer loaded = AdamOf(t, plain.model);
  SetStateDict(plain.model, {loaded}, {.model = {}, .optimizer = WholeDict(t, distributed)});
  const Dict expected = plain.optimizer.StateDict();
  t.Check(check, SameValue("the optimizer", expected, InOrderOf(expected, loaded.StateDict()),
                           {.dtype_default_tolerance = true}));
}

struct Flow {
  std::string wrapper;
  bool compiled = false;
  bool in_background = false;
  bool cache_staged = false;
  bool in_process = false;  // another one of each rank, which writes
};

// Checks C1 to C7.
void TrainSaveAndGoOn(Trial& t, const Flow& flow) {
  Training plain = PlainTraining(t), trained = WrappedTraining(t, flow.wrapper, flow.compiled);
  Train(plain, 2);
  Train(trained, 2);
  const Progress progress{2, 0.625f, "[0.25, 0.625]"};
  const Dict saved = StateOf(trained, progress, 1);
  if (flow.in_background) {
    const SaveOptions options{.cache_staged = flow.cache_staged, .process = flow.in_process};
    SaveCheckpointAsync(t.caller(), saved, "checkpoint", options).Wait();
  } else {
    SaveCheckpoint(t.caller(), saved, "checkpoint");
  }
  Training resumed = WrappedTraining(t, flow.wrapper, flow.compiled);
  const Dict loaded = LoadCheckpoint(t.caller(), StateOf(resumed, {}, 2), "checkpoint");
  resumed.model.LoadStateDict(loaded.At("model").AsDict());
  resumed.optimizer.LoadStateDict(loaded.At("optimizer").AsDict());
  t.Check("C1", SameValue("any tensor", Uniform({10, 10}, 1), loaded.At("s").AsDict().At("data")));
  t.Check("C2", SameValue("progress", StateOf(progress), loaded.At("train_state")));
  const at::Tensor loss = Train(plain, 1), resumed_loss = Train(resumed, 1);
  t.Check("C3", SameValue("loss of the next step", loss, resumed_loss, {.dtype_default_tolerance = true}));
  const ModelAndOptimizerState state = GetStateDict(resumed.model, {resumed.optimizer});
  SameModel(t, {"C4", "C5", "C6"}, "after the next step", GetModelStateDict(plain.model), state.model);
  SameOptimizer(t, "C7", plain, state.optimizer);
}

}  // namespace

PORT(test_e2e) { TrainSaveAndGoOn(t, {.wrapper = t.TextParam("model_type"), .compiled = t.BoolParam("compile")}); }

PORT(test_e2e_async_cached) {
  const bool cache_staged = t.BoolParam("cache_staged_state_dict");
  TrainSaveAndGoOn(t, {.wrapper = "FSDP",
                       .in_background = true,
                       .cache_staged = cache_staged,
                       .in_process = t.TextParam("async_checkpointer_type") == "PROCESS"});
}

PORT(test_stateful_and_non_stateful_loads) {
  const auto state = [](int64_t number, const List& bytes) {
    return Dict{{"foo", Dict{{"replicated", Uniform({10, 10}, number)}, {"bytes", bytes}}}};
  };
  const Dict saved = state(1, {1, 2, 3, 4}), target = state(2, {});
  SaveCheckpoint(t.caller(), saved, "checkpoint", {.distributed = false});
  const Dict loaded = LoadCheckpoint(t.caller(), target, "checkpoint", {.distributed = false});
  const Value& bytes = loaded.At("foo").AsDict().At("bytes");
  t.Check("C3", Holds(!Compare(Value(List{}), bytes).Equal(), "the list", "is the one that was given to the load"));
  t.Strict("C3", SameValue("what was loaded", saved, loaded));
}

PORT(test_no_dist) {
  t.NoError("C1", [&] { SaveCheckpoint(t.caller(), {}, "checkpoint", {.distributed = false}); });
  t.NoError("C2", [&] {
    t.Strict("C2", Equal<size_t>("entries", 0,
                                 LoadCheckpoint(t.caller(), {}, "checkpoint", {.distributed = false}).size()));
  });
}

PORT(test_partial_load) {
  Training plain = PlainTraining(t), trained = WrappedTraining(t, "FSDP");
  Train(plain, 2);
  Train(trained, 2);
  SaveCheckpoint(t.caller(),
                 {{"model", trained.model.StateDict()}, {"optimizer", trained.optimizer.StateDict()}}, "checkpoint");
  Training resumed = WrappedTraining(t, "FSDP");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", resumed.model.StateDict()}}, "checkpoint");
  resumed.model.LoadStateDict(loaded.At("model").AsDict());
  const Dict expected = GetModelStateDict(plain.model);
  SameModel(t, {"C1", "C2", "C3"}, "loaded", expected, GetModelStateDict(resumed.model));
  const Dict model = ReadCheckpoint(t.caller(), "checkpoint", {"model"});
  t.Strict("C4", SameNames("what was read", {"model"}, model.Keys()));
  SameModel(t, {"C4", "C5", "C6"}, "read", expected, model.At("model").AsDict());
  const Dict optimizer = ReadCheckpoint(t.caller(), "checkpoint", {"optimizer.state"});
  const Dict& state = optimizer.At("optimizer").AsDict().At("state").AsDict();
  t.Check("C7", Holds(!state.Find("param_groups"), "the state", "has param_groups"));
  t.Strict("C7", SameNames("the optimizer", {"state"}, optimizer.At("optimizer").AsDict().Keys()));
  const Dict trained_state = WholeDict(t, trained.optimizer.StateDict().At("state").AsDict());
  for (const auto& [name, states] : trained_state) {
    const Value* found = state.Find(name);
    t.Check("C8", found ? SameValue(ToString(name), states, InOrderOf(states, *found), kClose)
                        : Holds(false, ToString(name), "has no state"));
  }
}

PORT(test_different_ordered_state_dict_keys) {
  const auto state = [&](const std::string& first, const std::string& second, int64_t number) {
    const auto tensor = [&](const std::string& name) { return Uniform({5}, number + (name == "A" ? 0 : 1)); };
    return Dict{{first, Dict{{"tensor", tensor(first)}}}, {second, Dict{{"tensor", tensor(second)}}}};
  };
  const bool in_order = t.rank() == 0;
  const std::string first = in_order ? "A" : "B", second = in_order ? "B" : "A";
  Dict loaded;
  t.NoError("C1", [&] {
    SaveCheckpoint(t.caller(), state(first, second, 1), "checkpoint");
    loaded = LoadCheckpoint(t.caller(), state(first, second, 3), "checkpoint");
  });
  t.Strict("C1", SameValue("what was loaded", state(first, second, 1), loaded));
}

PORT(test_overwrite) {
  const at::Tensor first = Uniform({10}, 1), second = Uniform({10}, 2);
  SaveCheckpoint(t.caller(), {{"random", first}}, "checkpoint");
  SaveCheckpoint(t.caller(), {{"random", second}}, "checkpoint");
  const Dict loaded = LoadCheckpoint(t.caller(), {{"random", at::zeros({10})}}, "checkpoint");
  t.Check("C1", SameValue("the second one", second, loaded.At("random"), kClose));
  t.Strict("C1", SameValue("the second one, bit for bit", second, loaded.At("random")));
  t.Raises("C2", "CheckpointException", "", [&] {
    SaveCheckpoint(t.caller(), {{"random", first}}, "checkpoint", {.overwrite = false});
  });
  const Dict kept = LoadCheckpoint(t.caller(), {{"random", at::zeros({10})}}, "checkpoint");
  t.Strict("C2", SameValue("after the refusal", second, kept.At("random")));
}

PORT(test_no_cpu) {
  t.Raises("C1", "AssertionError", "A CPU backend must be enabled",
           [&] { SaveCheckpointAsync(t.caller(), {}, "checkpoint").Wait(); });
}

PORT(test_init_state_dict) {
  const Training saved = PlainTraining(t);
  const StateDictCall alone{.distributed = false};
  SaveCheckpoint(t.caller(),
                 {{"model", GetModelStateDict(saved.model, {}, alone)},
                  {"optimizer", GetOptimizerStateDict(saved.model, {saved.optimizer}, {}, alone)}},
                 "checkpoint", {.distributed = false});
  Model model = BuildLayers(t, kFourNets, 1);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.2});
  const Dict model_state = GetModelStateDict(model, {}, alone);
  const Dict optimizer_state = GetOptimizerStateDict(model, {optimizer}, {}, alone);
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", model_state}, {"optimizer", optimizer_state}}, "checkpoint",
                                     {.distributed = false});
  const Dict &loaded_model = loaded.At("model").AsDict(), &loaded_optimizer = loaded.At("optimizer").AsDict();
  for (const auto& [name, value] : model_state) {
    const bool in_place = value.AsTensor().is_alias_of(loaded_model.At(name).AsTensor());
    t.Check("C1", Holds(in_place, ToString(name), "is not the tensor that was given"));
  }
  for (const auto& [name, states] : optimizer_state.At("state").AsDict()) {
    const Dict& loaded_states = loaded_optimizer.At("state").AsDict().At(name).AsDict();
    for (const auto& [state, value] : states.AsDict()) {
      const bool in_place = value.AsTensor().is_alias_of(loaded_states.At(state).AsTensor());
      t.Check("C2", Holds(in_place, ToString(name) + ": " + ToString(state), "is not the tensor that was given"));
    }
  }
  SetStateDict(model, {optimizer}, {.model = loaded_model, .optimizer = loaded_optimizer}, {}, alone);
  const Dict after = GetOptimizerStateDict(model, {optimizer}, {}, alone);
  t.Check("C3", SameValue("the model", loaded_model, GetModelStateDict(model, {}, alone)));
  t.Check("C4", SameValue("the optimizer", loaded_optimizer, after));
  t.Check("C5", Equal("lr", kLr, after.At("param_groups").AsList().at(0).AsDict().At("lr").AsDouble()));
  t.Strict("C3", SameValue("the model that was saved", GetModelStateDict(saved.model, {}, alone), loaded_model));
}

}  // namespace shardcts::dcp
