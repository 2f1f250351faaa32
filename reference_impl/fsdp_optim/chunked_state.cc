#include "fsdp_optim/chunked_state.h"

#include <ATen/ATen.h>

#include "tensor/dtensor.h"
#include "tensor/sharded_tensor.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

// The elements of a member that a rank must have.
FlatRange Wanted(const FlatParameter& flat, size_t member, int64_t rank) {
  return flat.shape(member).empty() ? flat.layout().parameters[member] : flat.RowsOf(member, rank);
}

}  // namespace

std::vector<Placement> ChunkPlacements(const DeviceMesh& mesh) {
  std::vector<Placement> placements(static_cast<size_t>(mesh.NumDims() - 1), Placement::Replicate());
  placements.push_back(Placement::Shard(0));
  return placements;
}

Value ChunkedValue(const at::Tensor& local, const std::vector<int64_t>& shape, const UnitMembers& unit) {
  const Communicator& group = unit.group();
  const std::shared_ptr<DeviceMesh>& mesh = unit.unit->options().mesh;
  if (!mesh) return MakeShardedTensor(shape, ChunkSize(shape.front(), group.size()), local, group);
  return ToContract(MakeDTensor(local, mesh, ChunkPlacements(*mesh), shape), /*is_parameter=*/false);
}

std::vector<Value> ChunksOf(const StateRuns& state, const UnitMembers& unit, const std::vector<size_t>& members) {
  const FlatParameter& flat = unit.flat();
  RangesByRank want(static_cast<size_t>(flat.layout().ranks));
  for (size_t rank = 0; rank < want.size(); ++rank) {
    for (const size_t member : members) want[rank].push_back(Wanted(flat, member, static_cast<int64_t>(rank)));
  }
  std::vector<int64_t> numels;
  for (const FlatRange& range : want[static_cast<size_t>(flat.rank())]) numels.push_back(range.numel);
  const at::Tensor memory = at::empty({c10::sum_integers(numels)}, unit.On(state.dtype));
  const std::vector<at::Tensor> rows = memory.split_with_sizes(numels);
  std::vector<at::Tensor> mine;  // state of offloaded parameters is on the CPU
  for (const at::Tensor& run : state.mine) mine.push_back(run.to(memory.device()));
  ExchangeRanges(unit.group(), state.have, want, mine, rows);
  std::vector<Value> values;
  for (size_t i = 0; i < members.size(); ++i) {
    const std::vector<int64_t>& shape = flat.shape(members[i]);
    std::vector<int64_t> local = shape;
    if (!shape.empty()) local.front() = Chunk(shape.front(), flat.layout().ranks, flat.rank()).size();
    const at::Tensor chunk = rows[i].view(local);
    values.push_back(shape.empty() ? Value(chunk) : ChunkedValue(chunk, shape, unit));
  }
  return values;
}

}  // namespace shardcts::reference
