// The folders of our own files: next to the running program. *Local*.
#pragma once

#include <filesystem>
#include <string>

#include "run_files/input_error.h"

namespace shardcts {

// The folder of the running program, links resolved.
inline std::filesystem::path ProgramFolder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path(); }

// Our own shared library `file`: next to the running program, or where an installation puts it. InputError when it is
// in neither.
inline std::string OwnLibrary(const std::string& file) {
  const std::filesystem::path beside = ProgramFolder();
  const std::filesystem::path installed = (beside / "../lib/shardcts").lexically_normal();
  for (const std::filesystem::path& folder : {beside, installed}) {
    if (std::filesystem::exists(folder / file)) return (folder / file).string();
  }
  throw InputError(file + " is neither in " + beside.string() + " nor in " + installed.string());
}

// Files that programs read at run time (Python packages, the commit): PREFIX/share/shardcts/NAME of an installation,
// whose programs are in PREFIX/bin; without an installation, `in_source_tree`.
inline std::filesystem::path DataFile(const std::string& name, const std::filesystem::path& in_source_tree) {
  const std::filesystem::path installed = (ProgramFolder() / "../share/shardcts" / name).lexically_normal();
  return std::filesystem::exists(installed) ? installed : in_source_tree;
}

}  // namespace shardcts
