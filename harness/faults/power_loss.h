// Files and folders as a log makes them, and what of them a loss of power can leave. *Local*.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "faults/faults.h"

namespace shardcts::faults {

// Relative path -> content; folders have the path with "/" at its end.
using FileTree = std::map<std::string, std::string>;

FileTree ReadTree(const std::string& root);
void WriteTree(const FileTree& tree, const std::string& root);

// The tree when the operations of the log, in order, have been done to it.
FileTree Replay(const FileTree& before, const std::vector<Operation>& operations);
// What is in `after` and not made by the log, or otherwise than the log says; empty: nothing.
std::string DifferenceToLog(const FileTree& before, const std::vector<Operation>& operations, const FileTree& after);

struct PowerLoss {
  size_t after = 0;        // how many operations were done
  std::string text;        // what was lost
  bool keeps_names = false;  // all names lasted
  FileTree tree;
};

// Trees that a loss of power can leave, each once. Content is kept up to the last sync of its file, names up to the
// last sync of their folder; of what came later any part may be there. At each place in the log: all of it, none of it,
// the names without content, with zeros for content, with half of the content, content without names, and each single
// change lost or kept alone, up to `singles` of them.
std::vector<PowerLoss> PowerLosses(const FileTree& before, const std::vector<Operation>& operations,
                                   size_t singles = 8);

}  // namespace shardcts::faults
