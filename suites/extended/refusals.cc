#include "suites/extended/refusals.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "contract/parts.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

constexpr int64_t kIndexOfForeign = 200;  // no tensor of a model has it

// The form in which every rank gets what dsd_broadcast loads from rank 0.
std::string_view SaveFormFor(std::string_view form) { return form == "dsd_broadcast" ? "dsd_full" : form; }

ShardedTensor InRows(const Trial& t, const ShardedTensor& like, const at::Tensor& whole) {
  ShardedTensor made = like;
  made.shape = whole.sizes().vec();
  made.metadata.clear();
  made.local_shards.clear();
  const auto ranks = static_cast<int64_t>(like.ranks.size());
  const int64_t rows = made.shape.front(), chunk = (rows + ranks - 1) / ranks;
  for (int64_t i = 0; i < ranks; ++i) {
    const int64_t begin = std::min(i * chunk, rows), size = std::min(chunk, rows - begin);
    if (size == 0) continue;
    ShardMetadata shard{std::vector<int64_t>(made.shape.size(), 0), made.shape, like.ranks[static_cast<size_t>(i)],
                        like.metadata.front().device};
    shard.offsets.front() = begin;
    shard.sizes.front() = size;
    made.metadata.push_back(shard);
    if (shard.rank == t.rank()) made.local_shards.push_back({shard, whole.narrow(0, begin, size).clone()});
  }
  return made;
}

std::string JoinedKinds(const std::vector<std::string>& kinds) {
  std::string text;
  for (const std::string& kind : kinds) text += (text.empty() ? "" : " or ") + kind;
  return text;
}

}  // namespace

Dict SavedFor(Trial& t, Model& model, std::string_view form) {
  return t.subject().Clone(GetState(model, SaveFormFor(form))).AsDict();
}

Dict SavedStateFor(Trial& t, Model& model, const Optimizer& optimizer, std::string_view form) {
  return t.subject().Clone(GetOptimizerState(model, {optimizer}, SaveFormFor(form))).AsDict();
}

Dict GivenBy(const Trial& t, std::string_view form, const Dict& state) {
  return form == "dsd_broadcast" && t.rank() != 0 ? Dict{} : state;
}

Dict OtherValues() { return CodedLike(Twin(TrainedStack()).StateDict(), kFirstMoment); }

Model BuildWithOtherValues(Trial& t, std::string_view wrapper) {
  Model model = BuildCoded(t, TrainedStack());
  model.SetValues(OtherValues());
  Wrap(t, model, TrainedStack(), wrapper);
  return model;
}

Value InShape(const Trial& t, const Value& entry, const std::vector<int64_t>& shape) {
  const auto* sharded = entry.TryAs<ShardedTensor>();
  const at::ScalarType dtype = sharded ? sharded->dtype : LocalPart(entry).scalar_type();
  const at::Tensor whole = Coded(shape, kIndexOfForeign, 0, dtype).to(c10::Device(t.device()));
  if (sharded) return InRows(t, *sharded, whole);
  const auto* distributed = entry.TryAs<DTensor>();
  if (!distributed) return whole;
  DTensor made = *distributed;
  made.local = LocalSlice(whole, made.mesh, made.placements, t.rank()).clone();
  made.shape = shape;
  made.stride = whole.strides().vec();
  return made;
}

bool Refused(Trial& t, std::string_view what, const std::vector<std::string>& kinds,
             const std::function<void()>& call) {
  std::string kind, actual = "no error";
  try {
    call();
  } catch (const OperationFailed& failed) {
    kind = failed.error().kind;
    actual = failed.what();
  }
  const bool right = t.Rule(Holds(std::ranges::count(kinds, kind) > 0, what,
                                  fmt::format("expected {}, actual {}", JoinedKinds(kinds), actual)));
  return std::ranges::all_of(t.AllGather(right), [](const Value& of_rank) { return of_rank.AsBool(); });
}

Dict ParametersOf(Trial& t, Model& model, std::string_view wrapper) {
  return WholeDict(t, t.subject().Clone(TrainedParameters(model, wrapper)).AsDict());
}

Dict StateOf(Trial& t, Model& model, const Optimizer& optimizer, std::string_view wrapper) {
  return t.subject().Clone(TrainedState(model, optimizer, wrapper)).AsDict();
}

void StaysUsable(Trial& t, Model& model, const ModelSpec& spec, std::string_view wrapper, std::string_view form,
                 const Dict& good) {
  SetState(model, form, GivenBy(t, form, good));
  Model other = BuildTrained(t, spec, wrapper);
  SameState(t, "after a good load", ParametersOf(t, other, wrapper), ParametersOf(t, model, wrapper));
  for (Model* trained : {&model, &other}) {
    const Optimizer optimizer = t.subject().CreateOptimizer(*trained, "sgd", TrainingOptions("sgd"));
    Train(t, *trained, {optimizer}, 0, 1, PartOf(t, wrapper));
  }
  SameState(t, "after a step", ParametersOf(t, other, wrapper), ParametersOf(t, model, wrapper));
}

}  // namespace shardcts::extended
