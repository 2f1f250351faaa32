// Files of torch.save: one state dict with whole tensors, as a zip with a pickle. *Local*.
//
// They are read as data (torch_item.h): tensors, containers and plain values; another class in a file is an error.
#pragma once

#include <string>

#include "contract/value.h"
#include "storage/files.h"

namespace shardcts::reference {

// torch.load reads it, with weights_only, too. Whole tensors on the CPU, numbers, texts, bools, None, lists and dicts.
// TypeError naming the key: anything else.
void WriteTorchFile(Files& files, const std::string& path, const Dict& state_dict);

// A file of torch.save, or with what state.serialize has given. RuntimeError: neither.
Dict ReadTorchFile(Files& files, const std::string& path);

}  // namespace shardcts::reference
