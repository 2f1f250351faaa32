// Two optimizers for tests of state dicts: their state has every form that state may have.
#include <ATen/ATen.h>

#include "optim/rule_state.h"
#include "optim/update_rule.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// KeyError: a state dict was loaded that lacks it.
const Value& In(const Dict& dict, const Key& key) {
  const Value* entry = dict.Find(key);
  if (entry) return *entry;
  const bool is_id = std::holds_alternative<int64_t>(key);
  throw SemanticError("KeyError", is_id ? ToString(key) : "'" + ToString(key) + "'");
}
const Dict& Nested(const Dict& dict, const Key& key) { return In(dict, key).AsDict(); }

class NestedState : public UpdateRule {
 public:
  explicit NestedState(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) state = Initial(value);
    state.Set("count", In(state, "count").AsInt() + 1);
    Entry(state, "total").add_(1);
    const at::Tensor pair = Entry(state, "pair");
    pair.add_(at::tensor({1.0F, 2.0F}).to(pair.device()));
    at::Tensor moment = Entry(state, "moment").add_(grad);
    const Dict& level = Nested(Nested(Nested(state, "levels"), int64_t{1}), "two");
    at::Tensor(In(level, int64_t{2}).AsTensor()).add_(grad, 2);
    at::Tensor(In(state, "items").AsList().at(0).AsTensor()).add_(grad, 3);
    value.add_(moment, -Number(options, "lr"));
  }

 private:
  static Dict Initial(const at::Tensor& value) {
    return {{"count", 0},
            {"seen", true},
            {"label", "nested"},
            {"nothing", nullptr},
            {"total", CounterOf(0)},
            {"pair", at::zeros({2}, at::device(value.device()).dtype(at::kFloat))},
            {"moment", ZerosLike(value)},
            {"levels", Dict{{int64_t{1}, Dict{{"two", Dict{{int64_t{2}, ZerosLike(value)}}}}}}},
            {"items", List{ZerosLike(value), "text", 3, false}}};
  }

  Dict defaults_;
};

class GlobalState : public UpdateRule {
 public:
  explicit GlobalState(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict&, const Dict& options) const override {
    value.add_(grad, -Number(options, "lr"));
  }

  void UpdateWhole(Dict& state) const override {
    if (!state.Contains("global")) state.Set("global", Dict{{"count", 0}, {"history", at::zeros({3}, at::kFloat)}});
    Dict& whole = state.Find("global")->AsDict();
    const int64_t count = whole.At("count").AsInt() + 1;
    whole.Set("count", count);
    Entry(whole, "history")[(count - 1) % 3] = static_cast<double>(count);
  }

 private:
  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeNestedStateRule(Dict options) { return std::make_unique<NestedState>(std::move(options)); }
std::unique_ptr<UpdateRule> MakeGlobalStateRule(Dict options) { return std::make_unique<GlobalState>(std::move(options)); }

}  // namespace shardcts::reference
