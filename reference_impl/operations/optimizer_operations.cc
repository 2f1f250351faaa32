#include <ATen/ATen.h>

#include <cmath>

#include "dsd/optimizer_state.h"
#include "operations/dsd_operations.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "optim/named_optimizer.h"
#include "optim/optimizer_kinds.h"
#include "optim/rate.h"

namespace shardcts::reference {
namespace {

// The options that a group has of its own, under PyTorch's names, and its other entries.
Dict GroupOptions(const Dict& defaults, const Dict& group) {
  Dict own;
  if (const Value* entries = group.Find("entries")) own = entries->AsDict();
  const Value* given = group.Find("options");
  if (!given) return own;
  const Dict completed = WithOptions(defaults, given->AsDict());
  for (const std::string& name : given->AsDict().Keys()) {
    const std::string shown = name == "beta1" || name == "beta2" ? "betas" : name;
    own.Set(shown, completed.At(shown));
  }
  return own;
}

// What an optimizer is made of: its groups, and the names of their parameters in order.
struct Groups {
  std::vector<OptimizerGroup> groups;
  std::vector<std::string> names;
};

Groups OneGroupOfAll(models::Module& model) {
  Groups one{{{}}, {}};
  for (const auto& [name, parameter] : models::NamedParameters(model)) {
    one.groups.front().parameters.push_back(parameter);
    one.names.push_back(name);
  }
  if (one.names.empty()) throw SemanticError("ValueError", "optimizer got an empty parameter list");
  return one;
}

Groups ReadGroups(const Call& call, const Dict& defaults) {
  const Value* given = call.Find("groups");
  if (!given) return OneGroupOfAll(call.Model());
  Groups read;
  for (const Value& group : given->AsList()) {
    OptimizerGroup made;
    for (const std::string& name : group.AsDict().At("parameters").AsStrings()) {
      made.parameters.push_back(ParameterNamed(call.Model(), name));
      read.names.push_back(name);
    }
    made.options = GroupOptions(defaults, group.AsDict());
    read.groups.push_back(std::move(made));
  }
  return read;
}

Value Create(const Call& call) {
  const Value* options = call.Find("options");
  std::unique_ptr<UpdateRule> rule = MakeRule(call.Get("kind").AsString(), options ? options->AsDict() : Dict{});
  Groups groups = ReadGroups(call, rule->defaults());
  if (!call.Flag("named", false)) {
    return call.session.optimizer_handles.Add(
        std::make_shared<Optimizer>(std::move(rule), std::move(groups.groups)));
  }
  return call.session.optimizer_handles.Add(std::make_shared<NamedOptimizer>(
      std::move(rule), std::move(groups.groups), std::move(groups.names)));
}

// A rate that is a tensor keeps its storage.
void SetRate(Optimizer& optimizer, size_t group, const Rate& rate) {
  const Value& present = optimizer.groups()[group].options.At("lr");
  if (const auto* tensor = present.TryAs<Tensor>()) {
    at::Tensor(tensor->data).fill_(rate.value());
  } else {
    optimizer.SetOption(group, "lr", rate.value());
  }
}

void Apply(const LrSchedule& schedule, Optimizer& optimizer) {
  const double change = std::pow(schedule.factor, static_cast<double>(schedule.epoch));
  for (size_t i = 0; i < schedule.initial_rates.size(); ++i) {
    SetRate(optimizer, i, Rate(schedule.initial_rates[i]) * change);
  }
}

Value InitialRate(const Optimizer& optimizer, size_t group, bool is_resumed) {
  const Dict& options = optimizer.groups()[group].options;
  if (const Value* known = options.Find("initial_lr")) return *known;
  if (is_resumed) {
    throw SemanticError("KeyError", "\"param 'initial_lr' is not specified in param_groups[" + std::to_string(group) +
                                        "] when resuming an optimizer\"");
  }
  const Value& rate = options.At("lr");
  return rate.TryAs<Tensor>() ? Value(rate.AsTensor().clone()) : rate;
}

Value Schedule(const Call& call) {
  Optimizer& optimizer = call.TheOptimizer();
  const Value* epoch = call.Find("epoch");
  LrSchedule schedule{call.Get("factor").AsDouble(), epoch ? epoch->AsInt() : 0, {}};
  for (size_t i = 0; i < optimizer.groups().size(); ++i) {
    schedule.initial_rates.push_back(InitialRate(optimizer, i, schedule.epoch > 0));
  }
  for (size_t i = 0; i < schedule.initial_rates.size(); ++i) {
    Value& rate = schedule.initial_rates[i];
    optimizer.SetOption(i, "initial_lr", rate);
    if (rate.TryAs<Tensor>()) rate = rate.AsTensor().clone();  // the rates of now
  }
  Apply(schedule, optimizer);
  call.session.schedules[call.Get("optimizer").AsHandle().id] = std::move(schedule);
  return {};
}

Value AdvanceSchedule(const Call& call) {
  Optimizer& optimizer = call.TheOptimizer();
  const auto found = call.session.schedules.find(call.Get("optimizer").AsHandle().id);
  if (found == call.session.schedules.end()) throw SemanticError("ValueError", "the optimizer has no schedule");
  ++found->second.epoch;
  Apply(found->second, optimizer);
  return {};
}

Value Step(const Call& call) {
  call.TheOptimizer().Step();
  return {};
}

// A step calls the hooks, so that the steps since the first call say how often they ran.
Value HookRuns(const Call& call) {
  const int64_t steps = call.TheOptimizer().steps();
  const int64_t id = call.Get("optimizer").AsHandle().id;
  const int64_t runs = steps - call.session.steps_before_hooks.emplace(id, steps).first->second;
  return Dict{{"before", runs}, {"after", runs}};
}

Value ZeroGrad(const Call& call) {
  call.TheOptimizer().ZeroGrad();
  return {};
}

Value InitState(const Call& call) {
  call.TheOptimizer().InitState();
  return {};
}

Value SaveState(const Call& call) {
  if (const std::optional<Value> patched = SavePatchedOptimizer(call)) return *patched;
  return GetPlacedStateDict(call.TheOptimizer());
}

Value LoadState(const Call& call) {
  if (const std::optional<Value> patched = LoadPatchedOptimizer(call)) return *patched;
  SetPlacedStateDict(call.TheOptimizer(), call.Get("state_dict").AsDict(), {nullptr, call.session.meshes, call.warnings});
  return {};
}

}  // namespace

void AddOptimizerHandlers(HandlerTable& table) {
  table["optimizer.create"] = Create;
  table["optimizer.schedule"] = Schedule;
  table["optimizer.advance_schedule"] = AdvanceSchedule;
  table["optimizer.hook_runs"] = HookRuns;
  table["optimizer.step"] = Step;
  table["optimizer.zero_grad"] = ZeroGrad;
  table["optimizer.init_state"] = InitState;
  table["optimizer.state_dict"] = SaveState;
  table["optimizer.load_state_dict"] = LoadState;
}

}  // namespace shardcts::reference
