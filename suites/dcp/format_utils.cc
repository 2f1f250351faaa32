// Ports of test_format_utils.py.
#include <fstream>

#include "contract/fsdp.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"

namespace shardcts::dcp {
namespace {

const Layers kUneven{.in = 5, .out = {{"net1", 10}, {"net2", 15}, {"net3", 30}, {"net4", 5}}};

// What torch.save makes of the state dict, in a file.
void SaveFile(Trial& t, const Dict& state, const std::string& name) {
  const std::string bytes = Serialize(t.caller(), state).data;
  std::ofstream file(t.Folder(name), std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

PORT(test_dcp_to_torch_save) {
  const Dict saved = BuildLayers(t, kUneven, 1).StateDict();
  SaveCheckpoint(t.caller(), {{"model", saved}}, "checkpoint", {.distributed = false});
  ConvertCheckpoint(t.caller(), "checkpoint", "model.pt", "torch_save");
  const Dict target = BuildLayers(t, kUneven, 2).StateDict();
  const Dict loaded = LoadTorchFile(t.caller(), {{"model", target}}, "model.pt");
  t.Check("C1", SameValue("the file", Dict{{"model", saved}}, loaded));
}

PORT(test_torch_save_to_dcp) {
  const Dict saved = BuildLayers(t, kUneven, 1).StateDict();
  SaveFile(t, {{"model", saved}}, "model.pt");
  ConvertCheckpoint(t.caller(), "model.pt", "checkpoint", "default");
  const Dict target{{"model", BuildLayers(t, kUneven, 2).StateDict()}};
  t.Check("C1", SameValue("the model", Dict{{"model", saved}},
                          LoadCheckpoint(t.caller(), target, "checkpoint", {.distributed = false})));
}

PORT(test_online_torch_save_to_dcp) {
  const Dict saved = BuildLayers(t, kUneven, 1).StateDict();
  if (t.rank() == 0) SaveFile(t, {{"model", saved}}, "model.pt");
  t.AllGather(Value());
  Model model = BuildLayers(t, kUneven, 2);
  WrapFsdp(model, "", {.device_mesh = t.subject().InitMesh({t.world_size()}), .use_orig_params = true});
  const Dict loaded = LoadTorchFile(t.caller(), {{"model", model.StateDict()}}, "model.pt");
  model.LoadStateDict(loaded.At("model").AsDict());
  t.Check("C1", SameValue("the model", saved, model.StateDict()));
}

}  // namespace shardcts::dcp
