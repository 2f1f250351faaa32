// The fault layer of a rank: the library libshardcts_faults stands before libc in a rank's process and sees the file
// operations on and below one folder. It numbers and logs them, and one of them can be made to fail, to be short, or to
// kill the process (docs/storage_faults.md). Between Disarm and Arm it does nothing. *Local*, thread-safe, no LibTorch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shardcts::faults {

// What changes a file or a folder. Opening counts when it makes, empties or is for writing; closing, of a file that was
// open for writing.
enum class Kind { kOpen, kWrite, kTruncate, kAllocate, kCopy, kSync, kSyncRange, kClose, kMakeFolder, kRename, kLink,
                  kUnlink, kRemoveFolder, kRead };

enum class Action {
  kNone,
  kKillBefore,    // the process ends by SIGKILL instead of the operation
  kKillHalf,      // after the first half of a write
  kKillAfter,
  kFail,          // that operation fails with `error`
  kFailFromHere,  // it and, until Disarm, each later one of those that need room: opening to make, writes, folders
  kShort,         // a write or read of more than a byte does the first half
  kInterrupt,     // EINTR instead of an opening, a write or a read; the next try is a further operation
  kDelay,         // `delay_ms` before it
  kPause,         // until the file `wait_for` is there, at most `delay_ms`
};

constexpr int64_t kEvery = -2;

struct FaultPlan {
  std::string root;        // absolute; what is on and below it counts
  std::string log;         // a line for each operation is appended to it; empty: none
  int rank = 0;            // for the log
  bool with_bytes = false;  // the log has the bytes that are written
  bool of_reads = false;   // numbers are those of reads, not of what changes something
  int64_t at = -1;         // the number of the operation, from 0 in each process; kEvery
  Action action = Action::kNone;
  int error = 0;           // errno
  int delay_ms = 0;
  std::string wait_for;
  std::string death_note;  // a file that gets "RANK\n" before the process is killed
};

// One line of a log.
struct Operation {
  int rank = 0;
  int64_t number = 0;
  Kind kind = Kind::kOpen;
  std::string path;         // relative to the root; "." is the root
  std::string to;           // of a rename or link
  int64_t offset = -1;
  int64_t length = 0;
  int flags = 0;            // of an opening
  int64_t result = 0;
  int error = 0;            // errno, where the result is -1
  uint64_t file = 0;        // inode; 0: unknown
  uint64_t begin_ns = 0;    // CLOCK_MONOTONIC
  uint64_t end_ns = 0;
  std::string bytes;        // with_bytes: what was written
};

struct Seen {
  int64_t operations = 0;           // that were numbered
  bool hit = false;                 // the planned one came
  std::vector<std::string> unseen;  // what was used that the layer cannot follow: io_uring, shared mappings, …
};

// The library stands before libc: a write of this process is seen. Not so in a program that loads it late.
bool IsInPlace();
// Replaces a plan that there is.
void Arm(const FaultPlan& plan);
Seen Disarm();

const char* NameOf(Kind kind);
// In the order of the file; a last line that is cut is left out. std::runtime_error: a file that is none.
std::vector<Operation> ReadLog(const std::string& file);
std::string ToLine(const Operation& operation);

}  // namespace shardcts::faults
