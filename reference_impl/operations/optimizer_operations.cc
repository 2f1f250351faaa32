#include "dsd/optimizer_state.h"
#include "operations/dsd_operations.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "optim/named_optimizer.h"

namespace shardcts::reference {
namespace {

std::unique_ptr<UpdateRule> MakeRule(const std::string& kind, const Fields& options) {
  if (kind == "sgd") {
    SgdOptions read;
    read.lr = options.Number("lr", read.lr);
    read.momentum = options.Number("momentum", read.momentum);
    read.weight_decay = options.Number("weight_decay", read.weight_decay);
    return MakeSgdRule(read);
  }
  AdamOptions read;
  read.decoupled_weight_decay = kind == "adamw";
  read.lr = options.Number("lr", read.lr);
  read.beta1 = options.Number("beta1", read.beta1);
  read.beta2 = options.Number("beta2", read.beta2);
  read.eps = options.Number("eps", read.eps);
  read.weight_decay = options.Number("weight_decay", read.decoupled_weight_decay ? 1e-2 : 0);
  return MakeAdamRule(read);
}

// The options that a group has of its own, under PyTorch's names.
Dict GroupOptions(const std::string& kind, const Value* given) {
  Dict options;
  if (!given) return options;
  const Dict completed = MakeRule(kind, Fields(given->AsDict()))->defaults();
  bool has_beta = false;
  for (const std::string& name : given->AsDict().Keys()) {
    const bool is_beta = name == "beta1" || name == "beta2";
    if (!is_beta) options.Set(name, completed.At(name));
    has_beta = has_beta || is_beta;
  }
  if (has_beta) options.Set("betas", completed.At("betas"));
  return options;
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

Groups ReadGroups(const Call& call) {
  const Value* given = call.Find("groups");
  if (!given) return OneGroupOfAll(call.Model());
  Groups read;
  for (const Value& group : given->AsList()) {
    OptimizerGroup made;
    for (const std::string& name : group.AsDict().At("parameters").AsStrings()) {
      made.parameters.push_back(ParameterNamed(call.Model(), name));
      read.names.push_back(name);
    }
    made.options = GroupOptions(call.Get("kind").AsString(), group.AsDict().Find("options"));
    read.groups.push_back(std::move(made));
  }
  return read;
}

Value Create(const Call& call) {
  std::unique_ptr<UpdateRule> rule = MakeRule(call.Get("kind").AsString(), call.Options());
  Groups groups = ReadGroups(call);
  if (!call.Flag("named", false)) {
    return call.session.optimizer_handles.Add(
        std::make_shared<Optimizer>(std::move(rule), std::move(groups.groups)));
  }
  return call.session.optimizer_handles.Add(std::make_shared<NamedOptimizer>(
      std::move(rule), std::move(groups.groups), std::move(groups.names)));
}

// At epoch 0 the learning rate is what it was; all that shows of the schedule is where it began.
Value Schedule(const Call& call) {
  Optimizer& optimizer = call.TheOptimizer();
  for (size_t i = 0; i < optimizer.groups().size(); ++i) {
    const Dict& options = optimizer.groups()[i].options;
    if (!options.Contains("initial_lr")) optimizer.SetOption(i, "initial_lr", options.At("lr"));
  }
  return {};
}

Value Step(const Call& call) {
  call.TheOptimizer().Step();
  return {};
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
  table["optimizer.step"] = Step;
  table["optimizer.zero_grad"] = ZeroGrad;
  table["optimizer.init_state"] = InitState;
  table["optimizer.state_dict"] = SaveState;
  table["optimizer.load_state_dict"] = LoadState;
}

}  // namespace shardcts::reference
