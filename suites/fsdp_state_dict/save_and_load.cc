// Save from one model, load into a zeroed one: parameters, buffers, and a model that has trained.
#include <ATen/ATen.h>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

const std::vector<std::string> kMultibufferNames = {
    "0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "2.weight"};

bool OffloadsParameters(const Trial& t) { return t.BoolParam("cpu_offload"); }

using ModelBuilder = std::function<Model()>;

// Forward and backward on an input of its own; the gradients are kept.
void ForwardAndBackward(Trial& t, Model& model, bool half, int64_t number) {
  const at::Tensor input = RandomInput(t, {3, 10}, number);
  model.Backward(model.Forward({half ? input.to(at::kHalf) : input}));
}

// One of the three models of test_basic_save_and_load_state_dict.
void CheckSaveAndLoad(Trial& t, const ModelBuilder& build, bool fsdp_root) {
  const StateDictKind kind = KindOf(t);
  const bool half = t.BoolParam("fp16");
  const bool rank0_and_offload = t.BoolParam("state_dict_rank0_and_offload");
  const bool offload = OffloadsParameters(t);

  Model model = build();
  if (half) model.Cast("float16");
  t.NoError("C1", [&] { ForwardAndBackward(t, model, half, 0); });

  Dict saved;
  WithStateDictType(model, kind, ConfigFor(kind, rank0_and_offload), [&] {
    t.NoError("C2", [&] {
      if (!offload) model.To(t.device());
      if (half) model.Cast("float16");
      saved = model.StateDict();
    });
  });
  if (rank0_and_offload) {
    ExpectOnlyOnRank0(t, saved, {.not_empty = "C3", .device = "C4", .empty = "C5"}, kUnmanaged, fsdp_root);
  }
  if (half) {
    for (const auto& [name, value] : saved) {
      t.Check("C6", Holds(DtypeOf(value) == at::kHalf, ToString(name), "expected float16, actual " + ToString(value)));
    }
  }

  Model other = build();
  if (!offload) other.To(t.device());
  if (half) other.Cast("float16");
  t.NoError("C7", [&] { ForwardAndBackward(t, other, half, 1); });
  Zero(other, true);
  ExpectDifferent(t, model, other, {.parameter_count = "C8", .parameters = "C9"});
  if (rank0_and_offload) {
    t.NoError("C10", [&] { saved = t.subject().To(t.FromRank0(saved), t.device()).AsDict(); });
  }
  WithStateDictType(other, kind, [&] { Load(t, "C11", other, saved); });
  ExpectEqual(t, model, other, {.parameter_count = "C12", .parameters = "C13", .half = half ? "C14" : ""});
}

// Upstream's _get_multibuffer_nested_model: the Linear's unit has the given precision, the BatchNorm's float32, the
// root none.
Model MultibufferModel(Trial& t) {
  Model model = t.subject().Build("multibuffer", {}, t.device());
  FsdpOptions root;
  root.cpu_offload = OffloadsParameters(t);
  root.use_orig_params = t.BoolParam("use_orig_params");
  FsdpOptions linear = root, batch_norm = root;
  if (t.BoolParam("mixed_precision")) {
    linear.mixed_precision = HalfPrecision();
    batch_norm.mixed_precision =
        FsdpMixedPrecision{.param_dtype = "float32", .reduce_dtype = "float32", .buffer_dtype = "float32"};
  }
  WrapFsdp(model, "0", linear);
  WrapFsdp(model, "1", batch_norm);
  WrapFsdp(model, "", root);
  return model;
}

// A copy that does not share storage with the model; of a ShardedTensor, whose shard must be there.
Dict DetachedCopy(Trial& t, StateDictKind kind, const Dict& saved) {
  if (kind != StateDictKind::kFull) {
    for (const auto& [name, value] : saved) {
      t.Check("C5", Holds(!value.AsShardedTensor().local_shards.empty(), ToString(name), "has no local shard"));
    }
  }
  return t.subject().Clone(saved).AsDict();
}

}  // namespace

PORT(test_basic_save_and_load_state_dict) {
  FsdpOptions options;
  options.cpu_offload = OffloadsParameters(t);
  options.use_orig_params = t.BoolParam("use_orig_params");
  CheckSaveAndLoad(
      t, [&] { return NonFsdpRootModel(t, options); }, false);
  CheckSaveAndLoad(
      t, [&] { return NestedModel(t, options); }, true);
  CheckSaveAndLoad(
      t, [&] { return SimpleModel(t, options); }, true);
}

PORT(test_buffers_save_and_load_state_dict) {
  const StateDictKind kind = KindOf(t);
  const bool rank0_and_offload = t.BoolParam("state_dict_rank0_and_offload");
  const bool offload = OffloadsParameters(t);

  Model model = MultibufferModel(t);
  Dict saved;
  WithStateDictType(model, kind, ConfigFor(kind, rank0_and_offload), [&] {
    t.NoError("C1", [&] {
      if (!offload) model.To(t.device());
      saved = model.StateDict();
    });
  });
  if (kind != StateDictKind::kLocal && (!rank0_and_offload || t.rank() == 0)) {
    t.Strict("C1", SameNames("state-dict keys", kMultibufferNames, saved.Keys()));
  }
  for (const auto& [name, value] : saved) {
    const bool counter = ToString(name).find("num_batches_tracked") != std::string::npos;
    t.Strict("C1", Holds(DtypeOf(value) == (counter ? at::kLong : at::kFloat), ToString(name),
                         "expected the original dtype, actual " + ToString(value)));
  }
  if (rank0_and_offload) ExpectOnlyOnRank0(t, saved, {.not_empty = "C2", .device = "C3", .empty = "C4"});

  Model other = MultibufferModel(t);
  if (!offload) other.To(t.device());
  Zero(other, true);
  ExpectDifferent(t, model, other,
                  {.parameter_count = "C5", .parameters = "C6", .buffer_count = "C7", .buffers = "C8"});
  if (rank0_and_offload) {
    t.NoError("C9", [&] { saved = t.subject().To(t.FromRank0(saved), t.device()).AsDict(); });
  }
  WithStateDictType(other, kind, [&] { Load(t, "C10", other, saved); });
  ExpectEqual(t, model, other,
              {.parameter_count = "C11", .parameters = "C12", .buffer_count = "C13", .buffers = "C14"});
}

PORT(test_save_and_load_after_forward_state_dict) {
  const StateDictKind kind = KindOf(t);
  const bool mixed = t.BoolParam("mixed_precision");
  const bool rank0_and_offload = t.BoolParam("state_dict_rank0_and_offload");
  FsdpOptions options;
  if (mixed) options.mixed_precision = HalfPrecision();
  Model model = NestedModel(t, options);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.1});
  const Dict initial = FullStateOf(t, model).parameters;

  for (int64_t i = 0; i < 6; ++i) {
    const Value output = model.Forward({RandomInput(t, {10}, i)});
    const at::ScalarType expected = mixed ? at::kHalf : at::kFloat;
    t.Check("C1", Holds(output.AsTensor().scalar_type() == expected, "dtype of the loss",
                        fmt::format("expected {}, actual {}", c10::toString(expected), ToString(output))));
    t.NoError("C2", [&] {
      model.Backward(output);
      optimizer.Step();
    });
  }
  const Dict trained = FullStateOf(t, model).parameters;
  bool changed = false;
  for (const auto& [name, value] : trained) {
    const bool differs = !SameValue(ToString(name), initial.At(name), value).ok;
    t.Strict("C3", Holds(differs, ToString(name), "has not changed in training"));
    changed = changed || differs;
  }
  t.Check("C3", Holds(changed, "full parameters", "have not changed in training"));

  Dict saved;
  WithStateDictType(model, kind, ConfigFor(kind, rank0_and_offload), [&] {
    t.NoError("C4", [&] { saved = model.StateDict(); });
    saved = DetachedCopy(t, kind, saved);
  });
  if (rank0_and_offload) ExpectOnlyOnRank0(t, saved, {.not_empty = "C6", .device = "C7", .empty = "C8"});
  Zero(model);
  for (const auto& [name, value] : saved) {
    t.Check("C9", Holds(DtypeOf(value) == at::kFloat, ToString(name), "expected float32, actual " + ToString(value)));
  }
  if (rank0_and_offload) {
    t.NoError("C10", [&] { saved = t.subject().To(t.FromRank0(saved), t.device()).AsDict(); });
  }
  WithStateDictType(model, kind, [&] { Load(t, "C11", model, saved); });
  ExpectSame(t, "C12", trained, FullStateOf(t, model).parameters);
}

}  // namespace shardcts::fsdp_state_dict
