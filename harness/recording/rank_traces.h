// The traces of a test's ranks, read as one script. *Local*.
#pragma once

#include <filesystem>

#include "contract/json_codec.h"

namespace shardcts {

// Of the first line of a rank's trace; increased when the format changes.
inline constexpr int kRecordingFormat = 2;

// Reads FOLDER/rank-R.jsonl, or FOLDER/phase-P/rank-R.jsonl, as one script with the outcomes of all ranks (docs/formats.md). Steps of the same number
// and operation are one step; the last line of a rank that was cut off by a crash is left out, and the script says so.
// Throws InputError naming file and line for anything else that is not such a trace.
Json ReadRankTraces(const std::filesystem::path& folder);

}  // namespace shardcts
