// The options of model.wrap with wrapper "fsdp", and the configs of fsdp.state_dict_type. All functions are *Local*.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fsdp/options.h"
#include "fsdp/state_dict_type.h"
#include "operations/handlers.h"

namespace shardcts::reference {

// The world as a group, without ownership.
std::shared_ptr<Communicator> WorldGroup(const Session& session);

// For the module at `path` of call.Model(). AttributeError: a path or parameter that does not exist.
FsdpOptions ReadFsdpOptions(const Call& call, const std::string& path);

// RuntimeError as MakeStateDictSettings.
StateDictSettings ReadStateDictSettings(const Call& call);
// {type, config: {class, fields…}, optim_config: {class, fields…}}
Dict SettingsValue(const StateDictSettings& settings);
Dict ConfigValue(const StateDictConfig& config);

}  // namespace shardcts::reference
