#include "fsdp/entry_agreement.h"

#include <algorithm>
#include <sstream>

#include "fsdp/phase_timings.h"

namespace shardcts::reference {
namespace {

constexpr char kRefused[] = "an entry that cannot be gathered";

std::string TextOf(const EntryNote& note) {
  if (note.refusal) return kRefused;
  return note.what.empty() ? "no entry" : note.what;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> Exchange(Communicator& group, const std::string& mine) {
  const PhaseTimer timer(TimedPhase::kGather);
  return group.AllGatherBytes(mine);
}

}  // namespace

void AgreeOnEntries(Communicator& group, const std::vector<EntryNote>& notes) {
  std::string mine;
  for (const EntryNote& note : notes) mine += TextOf(note) + "\n";
  const std::vector<std::string> all = Exchange(group, mine);
  const auto refused = std::ranges::find_if(notes, [](const EntryNote& note) { return note.refusal.has_value(); });
  if (refused != notes.end()) throw SemanticError(*refused->refusal);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == mine) continue;
    const std::vector<std::string> other = Lines(all[rank]);
    for (size_t i = 0; i < notes.size(); ++i) {
      if (other.at(i) == TextOf(notes[i])) continue;
      throw SemanticError("RuntimeError", "the entries of \"" + notes[i].key + "\" cannot be gathered: rank " +
                                              std::to_string(group.rank()) + " has " + TextOf(notes[i]) + ", rank " +
                                              std::to_string(rank) + " has " + other.at(i));
    }
  }
}

}  // namespace shardcts::reference
