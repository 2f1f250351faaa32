#include "suites/extended/exact.h"

#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/session.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"

namespace shardcts::extended {
namespace {

constexpr int64_t kNumerators = 31;  // a prime: no layer's width divides it
constexpr int64_t kInputs = 3;

bool HasOwnNames(std::string_view wrapper) { return wrapper == "ddp" || wrapper == "replicate" || wrapper == "plain"; }

}  // namespace

Dict ExactValues(int64_t number) {
  Dict values;
  for (const auto& [name, value] : CodedLike(Twin(TrainedStack()).Parameters())) {
    const at::Tensor codes = value.AsTensor() + 7 * number;
    values.Set(name, (codes.remainder(kNumerators) - kNumerators / 2) / 16);
  }
  return values;
}

void WrapKeeping(Trial& t, Model& model, std::string_view wrapper, std::string_view unsharded) {
  const ModelSpec spec = TrainedStack();
  if (unsharded == "root") return Wrap(t, model, spec, wrapper);
  std::vector<std::string> paths = spec.units;
  paths.emplace_back();
  for (const std::string& path : paths) {
    if (wrapper == "fully_shard") {
      model.FullyShard(path, {.reshard_after_forward = false});
    } else if (wrapper == "fsdp" || wrapper == "fsdp_orig") {
      FsdpOptions options;
      options.sharding_strategy = "SHARD_GRAD_OP";
      options.use_orig_params = wrapper == "fsdp_orig";
      WrapFsdp(model, path, options);
    } else {
      throw HarnessError(fmt::format("no wrapper \"{}\" that keeps all unsharded", wrapper));
    }
  }
}

Model BuildExact(Trial& t, int64_t number, std::string_view wrapper, std::string_view unsharded) {
  Model model = BuildCoded(t, TrainedStack());
  model.SetValues(ExactValues(number));
  WrapKeeping(t, model, wrapper, unsharded);
  return model;
}

Dict SavedExact(Trial& t, int64_t number, std::string_view wrapper, std::string_view form) {
  Model source = BuildExact(t, number, wrapper);
  return t.subject().Clone(GetState(source, form)).AsDict();
}

Value ForwardExact(Trial& t, Model& model, std::string_view wrapper, int64_t step) {
  return model.Forward({Value(BatchInput(step, kInputs, PartOf(t, wrapper)).to(c10::Device(t.device())))});
}

void BackwardExact(Trial& t, Model& model, std::string_view wrapper, const Value& output, int64_t step) {
  const int64_t width = output.AsTensor().size(1);
  model.BackwardFrom(output, BatchGradient(step, width, PartOf(t, wrapper)).to(c10::Device(t.device())));
}

bool OutputIsExact(Trial& t, std::string_view what, int64_t number, const Value& output, std::string_view wrapper,
                   int64_t step) {
  Twin twin(TrainedStack());
  twin.SetValues(ExactValues(number));
  const at::Tensor expected = twin.Forward({BatchInput(step, kInputs, PartOf(t, wrapper))}).detach();
  return t.Rule(SameValue(what, expected, output.AsTensor().detach().cpu()));
}

bool ValuesAreExact(Trial& t, std::string_view what, int64_t number, Model& model, std::string_view wrapper) {
  const Dict actual = HasOwnNames(wrapper)            ? model.Parameters()
                      : wrapper.starts_with("fsdp") ? GetState(model, "full")
                                                      : model.StateDict();
  return SameWholeState(t, what, ExactValues(number), actual);
}

Dict EntriesByName(const Dict& optimizer_state) {
  Dict entries;
  const Value* nested = optimizer_state.Find("state");
  if (nested) {
    for (const auto& [name, state] : nested->AsDict()) {
      for (const auto& [entry, value] : state.AsDict()) entries.Set(ToString(name) + "." + ToString(entry), value);
    }
    return entries;
  }
  constexpr std::string_view kPrefix = "state.";
  for (const auto& [key, value] : optimizer_state) {
    const std::string name = ToString(key);
    if (name.starts_with(kPrefix)) entries.Set(name.substr(kPrefix.size()), value);
  }
  return entries;
}

}  // namespace shardcts::extended
