// Checkpoints as torch.distributed.checkpoint writes them with its FileSystem storage: `.metadata` and data files of
// items. *Local*.
//
//     PATH/.metadata                        dcp_metadata.h
//     PATH/__0_0.distcp                     items (torch_item.h) one behind the other; 0: the rank that wrote it, 0: of
//                                           its files. Written by the reference:
//                                           PATH/save-0123456789abcdef/__0_0.distcp, so that an overwrite touches no
//                                           file of the checkpoint that is there
#pragma once

#include <string>
#include <vector>

#include "contract/value.h"
#include "storage/complaints.h"
#include "storage/files.h"
#include "storage/manifest.h"
#include "storage/save_plan.h"
#include "storage/save_steps.h"

namespace shardcts::reference {

// What the metadata and the heads of all items say together; plain values are read. Checked before anything is read or
// allocated: chunks tile their tensors, items lie in their files and do not overlap, sizes and dtypes fit.
Manifest ManifestOfDcp(Files& files, const std::string& path, Complaints& complaints);

// Writes the file of this rank below `folder`, and returns {files, values, items} as MakeDcpMetadata needs it.
Value WriteDcpPart(Files& files, const std::string& folder, const std::vector<PlannedEntry>& plan, int64_t rank,
                   const HeldState& state);

// The text of `.metadata`. `parts`: what WriteDcpPart has given on each rank; `folder`: the name of the save's folder.
std::string MakeDcpMetadata(const std::string& folder, const std::vector<PlannedEntry>& plan,
                            const std::vector<Value>& parts);

}  // namespace shardcts::reference
