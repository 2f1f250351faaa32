#include "suites/extended/group_options.h"

#include <ATen/ATen.h>

namespace shardcts::extended {

const ModelSpec kThreeLayers = {.name = "linear_stack",
                                .args = {{"sizes", ToValue(std::vector<int64_t>{3, 5, 4, 2})}},
                                .units = {"0", "1"}};

std::vector<std::string> NamesEndingWith(const Dict& tensors, std::string_view end) {
  std::vector<std::string> names = tensors.Keys();
  std::erase_if(names, [&](const std::string& name) { return !name.ends_with(end); });
  return names;
}

std::vector<std::string> NamesEndingWith(const Model& model, std::string_view end) {
  return NamesEndingWith(model.Parameters(), end);
}

std::vector<std::string> NamesBelow(const Model& model, std::string_view path) {
  std::vector<std::string> names = model.Parameters().Keys();
  std::erase_if(names, [&](const std::string& name) { return !name.starts_with(fmt::format("{}.", path)); });
  return names;
}

Dict GroupOf(const Optimizer& optimizer, size_t group) {
  return optimizer.StateDict().At("param_groups").AsList().at(group).AsDict();
}

void TrainOneStep(Trial& t, Model& model, std::vector<Optimizer> optimizers) {
  const Value output = model.Forward({Value(at::ones({2, 3}).to(c10::Device(t.device())))});
  model.Backward(output);
  for (Optimizer& optimizer : optimizers) optimizer.Step();
  model.ZeroGrad();
}

}  // namespace shardcts::extended
