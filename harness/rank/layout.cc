#include "rank/layout.h"

#include "contract/observed_cut.h"
#include "contract/parts.h"
#include "rank/session.h"

namespace shardcts {

bool HasPytorchLayout(const Trial& t) {
  try {
    return t.TextParam(kLayoutParameter) != "own";
  } catch (const HarnessError&) {  // a trial that no pool has made
    return true;
  }
}

at::Tensor OwnSlice(Trial& t, const at::Tensor& full, const DTensor& tensor) {
  if (HasPytorchLayout(t)) return LocalSlice(full, tensor.mesh, tensor.placements, t.rank());
  PartShapes parts;
  for (const Value& said : t.AllGather(List{t.rank(), ToValue(tensor.local.sizes().vec())})) {
    parts[said.AsList()[0].AsInt()] = said.AsList()[1].AsInts();
  }
  return ObservedSlice(full, tensor, parts, t.rank());
}

}  // namespace shardcts
