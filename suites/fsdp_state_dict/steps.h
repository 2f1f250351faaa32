// Steps that the tests of FSDP1 state dicts share: upstream's builders, its ways to save and load, and its comparisons
// of two models. *Collective* wherever a model is used.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/fsdp.h"
#include "rank/trial.h"

namespace shardcts::fsdp_state_dict {

// "state_dict", "sharded_state_dict", "local_state_dict"
StateDictKind KindNamed(std::string_view name);
// The test's parameter "state_dict_type".
StateDictKind KindOf(const Trial& t);
// Upstream's _get_state_dict_mgr: offload_to_cpu of the type's config, and rank0_only if the type has it.
StateDictConfig ConfigFor(StateDictKind kind, bool rank0_and_offload);

// float16 for parameters, gradients and buffers.
FsdpMixedPrecision HalfPrecision();

// Standard normal, the same on every rank and in every implementation; `number` distinguishes the inputs of a test.
at::Tensor RandomInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);

// The module of the nested model that no unit manages.
constexpr std::string_view kUnmanaged = "non_fsdp_lin";

// Upstream's builders. Every FSDP unit gets the options.
Model SimpleModel(Trial& t, const FsdpOptions& options = {}, bool checkpoint = false);
Model NestedModel(Trial& t, const FsdpOptions& options = {}, bool checkpoint = false);
Model NonFsdpRootModel(Trial& t, const FsdpOptions& options = {});
// Upstream's Model under a root unit, with seed 0; `inner` is a unit of its own.
Model InnerOuterModel(Trial& t, bool register_buffers = false);
Model PlainInnerOuterModel(Trial& t, bool register_buffers = false);
// TransformerWithSharedParams under a root unit and one for each encoder and decoder layer.
Model SharedParametersModel(Trial& t, const FsdpOptions& options = {});

// Clones of the full parameters and buffers, by name. The root need not be a unit.
struct FullState {
  Dict parameters;
  Dict buffers;
};
FullState FullStateOf(Trial& t, Model& model);
void Zero(Model& model, bool buffers = false);

// The check ids of one comparison of two models; empty: not compared.
struct ComparisonChecks {
  std::string_view parameter_count, parameters;
  std::string_view buffer_count, buffers;
  std::string_view half;  // every full parameter of the second model is float16
};
// Upstream's _compare_models, expecting equality: each tensor by name, bit for bit; the strict form also compares names
// and order.
void ExpectEqual(Trial& t, Model& model, Model& other, const ComparisonChecks& checks);
// The same, expecting a difference: at least one parameter and, if buffers are compared, one buffer differs.
void ExpectDifferent(Trial& t, Model& model, Model& other, const ComparisonChecks& checks);
// All tensors are equal by name; `check` is evaluated, and its strict form.
void ExpectSame(Trial& t, std::string_view check, const Dict& expected, const Dict& actual,
                const CompareOptions& options = {});

// Upstream's _validate_state_dict_contents for a save with rank0_only and offload: rank 0 has entries, all on the CPU
// (except those whose name contains `ignored`); other ranks have none, unless the root is not a unit.
struct ContentChecks {
  std::string_view not_empty, device, empty;
};
void ExpectOnlyOnRank0(Trial& t, const Dict& saved, const ContentChecks& checks, std::string_view ignored = {},
                       bool fsdp_root = true);

// dtype of a tensor, DTensor or ShardedTensor.
at::ScalarType DtypeOf(const Value& value);

// Upstream's strict load: no error. Strict form: nothing is missing or unexpected.
void Load(Trial& t, std::string_view check, Model& model, const Dict& state_dict);

}  // namespace shardcts::fsdp_state_dict
