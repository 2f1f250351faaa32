#include "dsd/received_state.h"

#include <ATen/ATen.h>

#include "dsd/part_from_rank0.h"
#include "fsdp_optim/state_entries.h"
#include "state_dict/state_dict_values.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// Sent at once: for a tensor with dimensions its dtype and shape, all other values complete.
Value OutlineToSend(const std::string& name, const Value& value) {
  if (value.TryAs<shardcts::DTensor>() || value.TryAs<ShardedTensor>()) {
    throw SemanticError("RuntimeError", "\"" + name + "\" is in pieces: rank 0 must have whole tensors to broadcast");
  }
  if (!IsTensorWithDims(value)) return Dict{{"value", value}};
  const at::Tensor& tensor = value.AsTensor();
  return Dict{{"dtype", static_cast<int64_t>(tensor.scalar_type())}, {"shape", ToValue(tensor.sizes().vec())}};
}

// `mine`: the tensor on rank 0, undefined elsewhere.
WholeTensor Incoming(const Dict& outline, const at::Tensor& mine, Communicator& world) {
  const std::vector<int64_t> shape = outline.At("shape").AsInts();
  const auto dtype = static_cast<at::ScalarType>(outline.At("dtype").AsInt());
  const auto whole = [shape, dtype, mine, &world] {
    const at::Tensor tensor = mine.defined() ? mine.detach().to(world.device()).contiguous()
                                             : at::empty(shape, at::device(world.device()).dtype(dtype));
    world.Broadcast(tensor, 0);
    return tensor;
  };
  const auto part = [dtype, mine, whole, &world](const DTensorDistribution& layout, const at::Tensor& place) {
    return AreRowsOfWorld(layout, world) ? RowsFromRank0(mine, dtype, layout, world, place) : PartOf(whole(), layout);
  };
  return {shape, whole, part};
}

}  // namespace

StateDict ReceiveFromRank0(const Dict& state_dict, Communicator& world, RankAgreement& agreement) {
  const bool is_sender = world.rank() == 0;
  Dict outlines;
  if (is_sender) {
    agreement.Try([&] {
      for (const auto& [key, value] : state_dict) outlines.Set(key, OutlineToSend(ToString(key), value));
    });
  }
  const std::vector<Value> said = agreement.Exchange(world, outlines);
  agreement.ThrowIfRefused();
  StateDict entries;
  for (const auto& [key, outline] : said.front().AsDict()) {
    if (const Value* value = outline.AsDict().Find("value")) {
      entries.emplace_back(ToString(key), StateEntryFrom(*value));
    } else {
      const at::Tensor mine = is_sender ? state_dict.At(key).AsTensor() : at::Tensor();
      entries.emplace_back(ToString(key), Incoming(outline.AsDict(), mine, world));
    }
  }
  return entries;
}

}  // namespace shardcts::reference
