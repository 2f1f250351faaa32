#include "suites/dcp/steps.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace shardcts::dcp {

at::Tensor Uniform(at::IntArrayRef shape, int64_t number) {
  return at::rand(shape, at::detail::createCPUGenerator(static_cast<uint64_t>(number)), at::kFloat);
}

at::Tensor Counting(at::IntArrayRef shape) { return at::arange(c10::multiply_integers(shape), at::kFloat).view(shape); }

Model BuildLayers(Trial& t, const Layers& layers, int64_t seed, std::string_view device) {
  Dict children;
  for (const auto& [name, out] : layers.out) {
    children.Set(name, Dict{{"kind", "linear"}, {"out", out}});
    children.Set(name + "_relu", Dict{{"kind", "relu"}});
  }
  t.subject().Seed(seed);
  return t.subject().Build("tree",
                           {{"root", Dict{{"kind", "sequential"}, {"children", children}}},
                            {"in", layers.in},
                            {"values", "random"}},
                           device.empty() ? t.device() : device);
}

Dict ModuleState(Trial& t, int64_t seed) {
  const auto linear = [](int64_t out) { return Dict{{"kind", "linear"}, {"out", out}}; };
  const Dict children{{"linear_1", linear(5)},
                      {"linear_2", linear(1)},
                      {"emb", Dict{{"kind", "embedding"}, {"count", 5}, {"out", 10}}}};
  t.subject().Seed(seed);
  const Model model = t.subject().Build("tree",
                                        {{"root", Dict{{"kind", "branch"}, {"children", children}}},
                                         {"in", 5},
                                         {"values", "random"}},
                                        t.device());
  return model.StateDict();
}

bool IsSame(const Dict& expected, const Dict& actual) {
  for (const auto& [name, value] : expected) {
    const Value* found = actual.Find(name);
    if (!found || !Compare(value, *found).Equal()) return false;
  }
  return true;
}

void ExpectSameState(Trial& t, const StateChecks& checks, std::string_view what, const Dict& expected,
                     const Dict& actual) {
  t.Check(checks.count, Equal(fmt::format("{}: entries", what), expected.size(), actual.size()));
  t.Check(checks.names, SameNameSet(fmt::format("{}: names", what), expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* found = actual.Find(name);
    if (found) t.Check(checks.values, SameValue(fmt::format("{}: {}", what, ToString(name)), value, *found));
  }
}

void ExpectSameLayout(Trial& t, const LayoutChecks& checks, std::string_view what, const Dict& expected,
                      const Dict& actual, Values values) {
  t.Check(checks.names, SameNames(fmt::format("{}: names", what), expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* found = actual.Find(name);
    if (!found) continue;
    const std::string entry = fmt::format("{}: {}", what, ToString(name));
    const DTensor &one = value.AsDTensor(), &other = found->AsDTensor();
    t.Check(checks.meshes, Holds(one.mesh == other.mesh, entry, "expected the same mesh"));
    t.Check(checks.placements, Holds(one.placements == other.placements, entry, "expected the same placements"));
    const Verification same = SameValue(entry, one.local, other.local);
    t.Check(checks.values, values == Values::kEqual ? same : Holds(!same.ok, entry, "expected other values"));
  }
}

}  // namespace shardcts::dcp
