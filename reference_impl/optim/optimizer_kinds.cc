#include "optim/optimizer_kinds.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

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

struct Range {
  const char* option;
  double end;  // of [0, end)
  std::set<std::string> kinds = {};  // that check it; empty: all that have it
};
constexpr double kUnbounded = std::numeric_limits<double>::infinity();
const double kAfterOne = std::nextafter(1.0, 2.0);
const Range kRanges[] = {{"momentum", kUnbounded}, {"weight_decay", kUnbounded}, {"eps", kUnbounded},
                         {"lr_decay", kUnbounded}, {"initial_accumulator_value", kUnbounded},
                         {"momentum_decay", kUnbounded}, {"alpha", kUnbounded, {"rmsprop"}},
                         {"betas", 1}, {"rho", kAfterOne}};

void CheckInRange(const std::string& option, const Value& value, double end) {
  const double number = value.AsDouble();
  if (number >= 0 && number < end) return;
  throw SemanticError("ValueError", "Invalid " + option + " value: " + std::to_string(number));
}

// Of what an optimizer is created with; groups of their own are not checked, as in PyTorch.
void CheckRanges(const std::string& kind, const Dict& options) {
  for (const Range& range : kRanges) {
    const Value* value = options.Find(range.option);
    if (!value || (!range.kinds.empty() && !range.kinds.contains(kind))) continue;
    if (const auto* list = value->TryAs<List>()) {
      for (const Value& one : *list) CheckInRange(range.option, one, range.end);
    } else {
      CheckInRange(range.option, *value, range.end);
    }
  }
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
  if (!(lr >= 0)) throw SemanticError("ValueError", "Invalid learning rate: " + std::to_string(lr));
  return options;
}

std::unique_ptr<UpdateRule> MakeRule(const std::string& kind, const Dict& given) {
  const Kind& found = KindNamed(kind);
  Dict options = WithOptions(found.defaults, given);
  CheckRanges(kind, options);
  return found.make(std::move(options));
}

}  // namespace shardcts::reference
