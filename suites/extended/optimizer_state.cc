#include "suites/extended/optimizer_state.h"

#include <ATen/ATen.h>

#include "rank/verification.h"
#include "suites/extended/coded.h"

namespace shardcts::extended {

Dict CodedAdamState(const Dict& parameters, Steps steps) {
  Dict state;
  int64_t index = 0;
  for (const auto& [name, value] : parameters) {
    const std::vector<int64_t> shape = GlobalShape(value);
    const at::ScalarType dtype = LocalPart(value).scalar_type();
    const double step = steps == Steps::kEqual ? 3 : static_cast<double>(index + 3);
    state.Set(name, Dict{{"step", at::scalar_tensor(step, at::kFloat)},
                         {"exp_avg", Coded(shape, index, kFirstMoment, dtype)},
                         {"exp_avg_sq", Coded(shape, index, kSecondMoment, dtype)}});
    ++index;
  }
  return state;
}

Dict CodedAdamStateDict(const Dict& parameters, Steps steps) {
  const Dict group = {{"lr", 1.0 / 64},      {"betas", List{0.9, 0.999}}, {"eps", 1e-8},
                      {"weight_decay", 0.0}, {"amsgrad", false},          {"maximize", false},
                      {"foreach", nullptr},  {"capturable", false},       {"differentiable", false},
                      {"fused", nullptr},    {"decoupled_weight_decay", false},
                      {"params", ToValue(parameters.Keys())}};
  return {{"state", CodedAdamState(parameters, steps)}, {"param_groups", List{group}}};
}

}  // namespace shardcts::extended
