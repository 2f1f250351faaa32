// The names of files and folders below the run folder, and how files are written. Layout: docs/formats.md.
// All functions are *Local* and need no LibTorch; controller and rank processes both use them.
#pragma once

#include <filesystem>
#include <string>

#include "run_files/folder_lock.h"

namespace shardcts {

// The text as a folder name: every character outside [A-Za-z0-9._=+-] becomes `_`; a result longer than 150 bytes is
// cut to 133 and gets `_` and 16 hex digits of the complete text's FNV-1a hash. Idempotent for short texts; never
// empty, "." or "..".
std::string FolderName(const std::string& text);

// OUT/runs/IMPL/world-W/pool-K
std::filesystem::path PoolFolder(const std::filesystem::path& run_folder, const std::string& label, int world_size,
                                 int pool);
// OUT/traces/IMPL
std::filesystem::path TraceFolder(const std::filesystem::path& run_folder, const std::string& label);
std::filesystem::path EventFile(const std::filesystem::path& pool_folder, int rank);
std::filesystem::path RankLog(const std::filesystem::path& pool_folder, int rank);
// TRACE_FOLDER/TEST; TRACE_FOLDER/TEST/phase-P of a phase, whose index from 0 is given; rank-R.jsonl in either
std::filesystem::path TestTraces(const std::filesystem::path& trace_folder, const std::string& test);
std::filesystem::path PhaseTraces(const std::filesystem::path& test_traces, size_t phase);
std::filesystem::path RankTrace(const std::filesystem::path& traces, int rank);
// POOL/files/TEST: what the implementation writes during one test; `recording` is the name of the test's trace.
std::filesystem::path TestFiles(const std::filesystem::path& pool_folder, const std::string& recording);
// OUT/blobs
std::filesystem::path BlobFolder(const std::filesystem::path& run_folder);

// Makes `folder` ready for a new run: creates it, removes an earlier run's results.json, runs, traces, blobs and storage,
// and writes a results.json with complete: false. Throws InputError when it cannot be written, holds things and no
// earlier run, or is in use by another run. The run keeps the lock until it ends.
[[nodiscard]] FolderLock PrepareRunFolder(const std::filesystem::path& folder);

// Writes NAME.tmp, syncs it and renames it, so that a reader sees the old or the new file, never a part. Throws
// InputError naming the file.
void WriteFileAtomically(const std::filesystem::path& file, const std::string& text, unsigned mode = 0644);

}  // namespace shardcts
