#include "operations/handlers.h"

namespace shardcts::reference {
namespace {

Value Init(const Call& call) {
  const Value* names = call.Find("dim_names");
  const std::vector<std::string> dim_names = names ? names->AsStrings() : std::vector<std::string>{};
  const Value* ranks = call.Find("ranks");
  Communicator& world = *call.session.context.communicator;
  const std::string& device = call.session.context.device;
  const std::vector<int64_t> shape = call.Get("shape").AsInts();
  return call.session.HandleOf(
      ranks ? call.session.meshes.GetOrCreateAmong(world, device, shape, dim_names, ranks->AsInts())
            : call.session.meshes.GetOrCreate(world, device, shape, dim_names));
}

Value Submesh(const Call& call) {
  return call.session.HandleOf(call.Mesh()->Submesh(call.Get("dim_names").AsStrings()));
}

Value DescribeMesh(const Call& call) {
  const DeviceMesh& mesh = *call.AnyMesh();
  const MeshLayout& layout = mesh.layout();
  return Dict{{"device_type", layout.device_type},
              {"shape", ToValue(layout.shape)},
              {"dim_names", ToValue(layout.dim_names)},
              {"ranks", ToValue(layout.ranks)},
              {"coordinate", ToValue(mesh.coordinate())}};
}

}  // namespace

void AddMeshHandlers(HandlerTable& table) {
  table["mesh.init"] = Init;
  table["mesh.submesh"] = Submesh;
  table["mesh.describe"] = DescribeMesh;
}

}  // namespace shardcts::reference
