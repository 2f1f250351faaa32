#include <set>

#include "operations/handlers.h"
#include "optim/optimizer.h"

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

std::vector<models::ParameterPtr> ParametersOf(models::Module& model) {
  std::vector<models::ParameterPtr> parameters;
  for (const auto& [name, parameter] : models::NamedParameters(model)) parameters.push_back(parameter);
  return parameters;
}

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

std::shared_ptr<Optimizer> Make(const std::string& kind, Options& options, models::Module& model) {
  if (kind == "sgd") return MakeSgd(ParametersOf(model), ReadSgd(options));
  if (kind == "adam") return MakeAdam(ParametersOf(model), ReadAdam(options, false));
  if (kind == "adamw") return MakeAdam(ParametersOf(model), ReadAdam(options, true));
  throw SemanticError("ValueError", "unknown optimizer '" + kind + "'; there are: sgd, adam, adamw");
}

Optimizer& TheOptimizer(const Call& call) {
  return *call.session.optimizer_handles.Get(call.Get("optimizer").AsHandle());
}

Value Create(const Call& call) {
  const std::string& kind = call.Get("kind").AsString();
  Options options(kind, call.Find("options"));
  return call.session.optimizer_handles.Add(Make(kind, options, call.Model()));
}

Value Step(const Call& call) {
  TheOptimizer(call).Step();
  return {};
}

Value ZeroGrad(const Call& call) {
  TheOptimizer(call).ZeroGrad();
  return {};
}

}  // namespace

void AddOptimizerHandlers(HandlerTable& table) {
  table["optimizer.create"] = Create;
  table["optimizer.step"] = Step;
  table["optimizer.zero_grad"] = ZeroGrad;
}

}  // namespace shardcts::reference
