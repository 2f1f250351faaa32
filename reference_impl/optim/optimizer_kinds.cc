#include "optim/optimizer_kinds.h"

#include <ATen/ATen.h>

#include <map>

#include "optim/rule_state.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using Make = std::unique_ptr<UpdateRule> (*)(Dict options);

struct Kind {
  Dict defaults;  // in PyTorch's order
  Make make;
};

const Value kNone;
const Value kBetas = List{0.9, 0.999};

Dict AdamDefaults(Value weight_decay, bool decoupled) {
  return {{"lr", 1e-3}, {"betas", kBetas}, {"eps", 1e-8}, {"weight_decay", std::move(weight_decay)},
          {"amsgrad", false}, {"maximize", false}, {"foreach", kNone}, {"capturable", false},
          {"differentiable", false}, {"fused", kNone}, {"decoupled_weight_decay", decoupled}};
}

const std::map<std::string, Kind>& Kinds() {
  static const std::map<std::string, Kind> kinds{
      {"sgd", {{{"lr", 1e-3}, {"momentum", 0}, {"dampening", 0}, {"weight_decay", 0}, {"nesterov", false},
                {"maximize", false}, {"foreach", kNone}, {"differentiable", false}, {"fused", kNone}}, MakeSgdRule}},
      {"adam", {AdamDefaults(0, false), MakeAdamRule}},
      {"adamw", {AdamDefaults(1e-2, true), MakeAdamRule}},
      {"adagrad", {{{"lr", 1e-2}, {"lr_decay", 0}, {"eps", 1e-10}, {"weight_decay", 0}, {"initial_accumulator_value", 0},
                    {"foreach", kNone}, {"maximize", false}, {"differentiable", false}, {"fused", kNone}}, MakeAdagradRule}},
      {"rmsprop", {{{"lr", 1e-2}, {"momentum", 0}, {"alpha", 0.99}, {"eps", 1e-8}, {"centered", false}, {"weight_decay", 0},
                    {"capturable", false}, {"foreach", kNone}, {"maximize", false}, {"differentiable", false}}, MakeRmsPropRule}},
      {"nadam", {{{"lr", 2e-3}, {"betas", kBetas}, {"eps", 1e-8}, {"weight_decay", 0}, {"momentum_decay", 4e-3},
                  {"decoupled_weight_decay", false}, {"maximize", false}, {"foreach", kNone}, {"capturable", false},
                  {"differentiable", false}}, MakeNAdamRule}},
      {"radam", {{{"lr", 1e-3}, {"betas", kBetas}, {"eps", 1e-8}, {"weight_decay", 0}, {"maximize", false},
                  {"foreach", kNone}, {"capturable", false}, {"decoupled_weight_decay", false}, {"differentiable", false}}, MakeRAdamRule}},
      {"asgd", {{{"lr", 1e-2}, {"lambd", 1e-4}, {"alpha", 0.75}, {"t0", 1e6}, {"weight_decay", 0}, {"foreach", kNone},
                 {"maximize", false}, {"differentiable", false}, {"capturable", false}}, MakeAsgdRule}},
      {"adamax", {{{"lr", 2e-3}, {"betas", kBetas}, {"eps", 1e-8}, {"weight_decay", 0}, {"foreach", kNone},
                   {"maximize", false}, {"differentiable", false}, {"capturable", false}}, MakeAdamaxRule}},
      {"adadelta", {{{"lr", 1.0}, {"rho", 0.9}, {"eps", 1e-6}, {"weight_decay", 0}, {"maximize", false},
                     {"capturable", false}, {"foreach", kNone}, {"differentiable", false}}, MakeAdadeltaRule}},
      {"nested_state", {{{"lr", 1e-3}}, MakeNestedStateRule}},
      {"global_state", {{{"lr", 1e-3}}, MakeGlobalStateRule}},
  };
  return kinds;
}

const Kind& KindNamed(const std::string& name) {
  const auto found = Kinds().find(name);
  if (found == Kinds().end()) throw SemanticError("ValueError", "there is no optimizer '" + name + "'");
  return found->second;
}

}  // namespace

Dict DefaultOptions(const std::string& kind) { return KindNamed(kind).defaults; }

Dict WithOptions(Dict options, const Dict& given) {
  for (const auto& [key, value] : given) {
    const std::string name = ToString(key);
    if (name == "beta1" || name == "beta2") {
      List betas = options.At("betas").AsList();
      betas.at(name == "beta1" ? 0 : 1) = value;
      options.Set("betas", std::move(betas));
    } else {
      options.Set(key, value);
    }
  }
  const double lr = LearningRate(options).value();
  if (lr < 0) throw SemanticError("ValueError", "Invalid learning rate: " + std::to_string(lr));
  return options;
}

std::unique_ptr<UpdateRule> MakeRule(const std::string& kind, const Dict& given) {
  const Kind& found = KindNamed(kind);
  return found.make(WithOptions(found.defaults, given));
}

}  // namespace shardcts::reference
