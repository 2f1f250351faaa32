#include "storage/load_optimizer.h"

#include <ATen/ATen.h>

#include <vector>

#include "contract/tensor_bytes.h"
#include "storage/checkpoint.h"
#include "storage/flat_state.h"
#include "storage/together.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

at::Tensor NewLike(const at::Tensor& tensor, at::ScalarType dtype) {
  return at::empty(tensor.sizes(), tensor.options().dtype(dtype).requires_grad(false));
}

// Memory for a saved tensor in the layout of a parameter, or of a plain one.
Value Destination(const SavedTensor& saved, const Value* parameter) {
  if (parameter) {
    if (const auto* distributed = parameter->TryAs<shardcts::DTensor>(); distributed && distributed->shape == saved.shape) {
      shardcts::DTensor made = *distributed;
      made.local = NewLike(made.local, saved.dtype);
      return made;
    }
    if (const auto* sharded = parameter->TryAs<shardcts::ShardedTensor>(); sharded && sharded->shape == saved.shape) {
      shardcts::ShardedTensor made = *sharded;
      made.dtype = saved.dtype;
      for (LocalShard& shard : made.local_shards) shard.tensor = NewLike(shard.tensor, saved.dtype);
      return made;
    }
  }
  return at::empty(saved.shape, at::TensorOptions().dtype(saved.dtype));
}

// {state: {FQN: …}}: the FQN is the third step of a path.
const Value* ParameterOf(const Path& path, const Dict& model_state) {
  return path.size() > 3 && path[1].key == Key("state") ? model_state.Find(path[2].key) : nullptr;
}

Dict Destinations(const Manifest& manifest, const Dict& model_state, const std::string& key) {
  std::vector<FlatEntry> entries;
  for (const std::string& name : manifest.order) {
    const auto tensor = manifest.tensors.find(name);
    const bool is_tensor = tensor != manifest.tensors.end();
    const Path& path = is_tensor ? tensor->second.path : manifest.values.at(name).path;
    if (path.front().key != Key(key)) continue;
    entries.push_back({name, path, is_tensor ? Destination(tensor->second, ParameterOf(path, model_state)) : Value()});
  }
  if (entries.empty()) throw SemanticError("RuntimeError", "the checkpoint has nothing below \"" + key + "\"");
  return Unflatten(entries);
}

}  // namespace

Dict LoadOptimizerState(Communicator& group, Files& files, const Dict& model_state, const std::string& key,
                        const std::string& path) {
  Dict destinations;
  Together(group, [&]() -> Value {
    destinations = Destinations(ReadManifest(files, path), model_state, key);
    return {};
  });
  return LoadCheckpoint(group, files, destinations, path, /*partial=*/false).state_dict;
}

}  // namespace shardcts::reference
