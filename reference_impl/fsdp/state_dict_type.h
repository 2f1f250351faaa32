// The type of state dict that the units of a model save and load. Everything here is *Local*. Semantics:
// FullyShardedDataParallel.set_state_dict_type, state_dict_type and get_state_dict_type, torch 2.13.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/module.h"

namespace shardcts::reference {

enum class StateDictType {
  kFull,     // full parameters under their original names, copies
  kLocal,    // "_flat_param" of each unit: views of the live shards
  kSharded,  // original names, each sharded along dimension 0, copies
};
std::string NameOf(StateDictType type);  // "FULL", "LOCAL", "SHARDED"
std::optional<StateDictType> ParseStateDictType(const std::string& text);

struct StateDictConfig {
  std::string class_name;  // "FullStateDictConfig", … as given; it must match the type
  bool offload_to_cpu = false;
  bool rank0_only = false;   // kFull: other ranks get no values that units manage
  bool use_dtensor = false;  // kSharded: DTensors; set for a unit that was created with a mesh
  // Whether both are the same but for use_dtensor, which the unit decides.
  bool operator==(const StateDictConfig& other) const;
};

struct StateDictSettings {
  StateDictType type = StateDictType::kFull;
  StateDictConfig config{"FullStateDictConfig"};
  StateDictConfig optim_config{"FullOptimStateDictConfig", /*offload_to_cpu=*/true};
  bool operator==(const StateDictSettings&) const = default;
};

// The default of a config class by its name. ValueError: no such class.
StateDictConfig DefaultStateDictConfig(const std::string& class_name);
// The names of the class's fields, in order.
std::vector<std::string> FieldsOf(const std::string& class_name);

// The settings of this type with the given configs or the type's default ones.
// RuntimeError: a config of a class that is not exactly the type's.
StateDictSettings MakeStateDictSettings(StateDictType type, const std::optional<StateDictConfig>& config = {},
                                        const std::optional<StateDictConfig>& optim_config = {});

// Sets every unit in the tree of `root`, which need not be a unit. Returns the previous settings, nullopt without any
// unit. AssertionError: the units did not have the same type and config classes; the units visited before stay set.
std::optional<StateDictSettings> SetStateDictType(models::Module& root, const StateDictSettings& settings);

// With use_dtensor of the optimizer's config where the first unit has a mesh. AssertionError: the units differ.
std::optional<StateDictSettings> GetStateDictType(models::Module& root);

// SetStateDictType during its lifetime. Destruction restores the previous settings, also when an exception passes.
class StateDictTypeScope {
 public:
  StateDictTypeScope(models::Module& root, const StateDictSettings& settings)
      : root_(root), previous_(SetStateDictType(root, settings)) {}
  ~StateDictTypeScope();  // as End, but its exceptions are dropped
  StateDictTypeScope(const StateDictTypeScope&) = delete;
  StateDictTypeScope& operator=(const StateDictTypeScope&) = delete;

  // Ends the scope; further calls do nothing. AssertionError: the units differ now.
  void End();

 private:
  models::Module& root_;
  std::optional<StateDictSettings> previous_;
};

}  // namespace shardcts::reference
