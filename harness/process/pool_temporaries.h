// The folder for temporary files of a pool's processes, or of a warm process: PyTorch and its libraries leave some
// behind, and so does everything that is killed. *Local*.
//
// It is in the system's folder for such files, and its name is short, as those of Unix sockets in it must be.
#pragma once

#include <string>

namespace shardcts {

// By the controller, before the first process starts and when none is left. One that cannot be made is done without.
void MakePoolTemporaries(const std::string& token);
void RemovePoolTemporaries(const std::string& token);

// By a rank or a warm process: its TMPDIR is this folder, if that is on this host.
void UsePoolTemporaries();

}  // namespace shardcts
