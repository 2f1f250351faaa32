#include "operations/handlers.h"

namespace shardcts::reference {
namespace {

Value Init(const Call& call) {
  const Value* names = call.Find("dim_names");
  return call.session.HandleOf(call.session.meshes.GetOrCreate(
      *call.session.context.communicator, call.session.context.device, call.Get("shape").AsInts(),
      names ? names->AsStrings() : std::vector<std::string>{}));
}

Value Submesh(const Call& call) {
  return call.session.HandleOf(call.Mesh()->Submesh(call.Get("dim_names").AsStrings()));
}

Value Describe(const Call& call) {
  const DeviceMesh& mesh = *call.Mesh();
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
  table["mesh.describe"] = Describe;
}

}  // namespace shardcts::reference
