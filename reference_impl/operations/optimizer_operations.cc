#include <set>

#include "dsd/optimizer_state.h"
#include "operations/dsd_operations.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "optim/named_optimizer.h"

namespace shardcts::reference {
namespace {

// Hyperparameters by name; complains about those that the kind does not have.
class Options {
 public:
  Options(std::string kind, const Value* options) : kind_(std::move(kind)) {
    if (options) options_ = options->AsDict();
  }
  double Get(const std::string& name, double default_value) {
    known_.insert(name);
    const Value* value = options_.Find(name);
    return value ? value->AsDouble() : default_value;
  }
  void CheckNoneLeft() const {
    for (const std::string& name : options_.Keys()) {
      if (!known_.contains(name)) throw SemanticError("TypeError", kind_ + " has no option '" + name + "'");
    }
  }

 private:
  std::string kind_;
  Dict options_;
  std::set<std::string> known_;
};

SgdOptions ReadSgd(Options& options) {
  SgdOptions read;
  read.lr = options.Get("lr", read.lr);
  read.momentum = options.Get("momentum", read.momentum);
  read.weight_decay = options.Get("weight_decay", read.weight_decay);
  options.CheckNoneLeft();
  return read;
}

AdamOptions ReadAdam(Options& options, bool decoupled_weight_decay) {
  AdamOptions read;
  read.decoupled_weight_decay = decoupled_weight_decay;
  read.lr = options.Get("lr", read.lr);
  read.beta1 = options.Get("beta1", read.beta1);
  read.beta2 = options.Get("beta2", read.beta2);
  read.eps = options.Get("eps", read.eps);
  read.weight_decay = options.Get("weight_decay", decoupled_weight_decay ? 1e-2 : 0);
  options.CheckNoneLeft();
  return read;
}

std::unique_ptr<UpdateRule> MakeRule(const std::string& kind, const Value* given) {
  Options options(kind, given);
  if (kind == "sgd") return MakeSgdRule(ReadSgd(options));
  if (kind == "adam") return MakeAdamRule(ReadAdam(options, false));
  if (kind == "adamw") return MakeAdamRule(ReadAdam(options, true));
  throw SemanticError("ValueError", "unknown optimizer '" + kind + "'; there are: sgd, adam, adamw");
}

// The options that a group has of its own, under PyTorch's names.
Dict GroupOptions(const std::string& kind, const Value* given) {
  Dict options;
  if (!given || given->IsNone()) return options;
  const Dict completed = MakeRule(kind, given)->defaults();  // complains about what the kind does not have
  for (const auto& [key, value] : given->AsDict()) {
    const std::string name = ToString(key);
    if (name != "beta1" && name != "beta2") options.Set(name, completed.At(name));
  }
  if (given->AsDict().Contains("beta1") || given->AsDict().Contains("beta2")) {
    options.Set("betas", completed.At("betas"));
  }
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
  std::unique_ptr<UpdateRule> rule = MakeRule(call.Get("kind").AsString(), call.Find("options"));
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
  if (call.Get("kind").AsString() != "exponential") {
    throw SemanticError("ValueError", "unknown schedule '" + call.Get("kind").AsString() + "'");
  }
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
