// The points of a save at which a rank can die, and how a test goes from one to the next (docs/storage_faults.md).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "faults/faults.h"
#include "rank/trial.h"

namespace shardcts::storage {

// A save as the fault layer has seen it.
struct SeenSave {
  std::vector<faults::Operation> operations;  // of all ranks, in the order in which they ended
  // Why the layer has not seen everything: what it says itself, files that are not what the log makes of them. Empty:
  // it has.
  std::string unseen;
};

// *Collective*. Does `save` while every rank's operations below the folder are logged, with the bytes.
SeenSave Watch(Trial& t, const std::string& folder, const std::function<void()>& save);
// Throws OptionNotSupported with the reason, on every rank: the rule cannot be evaluated.
void RequireSeen(const SeenSave& save);

struct CrashPoint {
  int rank = 0;
  int64_t number = 0;
  faults::Action action = faults::Action::kNone;
  std::string text;  // "rank 0 killed before operation 3, rename a to b"
};

// Every state that the death of a rank can leave: before each operation, half-way through each write, after the last.
// `at_most`: so many of them, one of each of so many parts of the save, by the run's seed; 0: all.
// SHARDCTS_CRASH_POINTS (a number or "all") replaces it; "all" is after each operation as well, which differs in how far
// peers are.
std::vector<CrashPoint> CrashPointsOf(const std::vector<faults::Operation>& operations, int64_t at_most = 0);

// The folder in which the point of this index is tried, "point-7", and the checkpoint in it.
std::string PointFolder(size_t index);
std::string PointCheckpoint(size_t index);

void WritePoints(const Trial& t, const std::vector<CrashPoint>& points);
std::vector<CrashPoint> ReadPoints(const Trial& t);

// What the ranks that lived say of a point.
struct Survivor {
  int rank = 0;
  bool failed = false;  // its save was an error
  double seconds = 0;
};
// In a phase "crash": tries one point after the other. `prepare` is called on rank 0. Comes to its end when no point is
// left; until then the rank dies, or its peers leave it by PeerStopped.
void TryPoints(Trial& t, const std::function<void(size_t index)>& prepare,
               const std::function<void(size_t index)>& save);
std::vector<Survivor> SurvivorsOf(const Trial& t, size_t index);
// The planned rank came to the end of the save without meeting the point.
bool WasMissed(const Trial& t, size_t index);

}  // namespace shardcts::storage
