#include "agreement/rank_agreement.h"

#include <algorithm>

#include "serialization/value_bytes.h"

namespace shardcts::reference {
namespace {

// Messages contain no ShardedTensor, so every rank may read them.
constexpr RankOfWorld kAnyone{};

std::string TextOf(const EntryNote& note) {
  if (note.refusal) return "an entry that cannot be gathered";
  return note.what.empty() ? "no entry" : note.what;
}

}  // namespace

std::string RankAgreement::Complaint(const Communicator& group) const {
  if (peer_failure_) return *peer_failure_;
  if (!failure_) return "";
  const std::string rank = "rank " + std::to_string(group.global_ranks()[static_cast<size_t>(group.rank())]) + ": ";
  try {
    std::rethrow_exception(failure_);
  } catch (const std::exception& error) {
    return rank + error.what();
  }
}

std::vector<Value> RankAgreement::Exchange(Communicator& group, const Value& mine) {
  const std::string complaint = Complaint(group);
  const Dict said{{"complaint", complaint}, {"says", complaint.empty() ? mine : Value()}};
  std::vector<Value> all;
  for (const std::string& bytes : group.AllGatherBytes(ToBytes(said, kAnyone))) {
    const Value read = FromBytes(bytes, kAnyone);
    const std::string& theirs = read.AsDict().At("complaint").AsString();
    if (!theirs.empty() && !refused()) peer_failure_ = theirs;
    all.push_back(read.AsDict().At("says"));
  }
  return all;
}

std::vector<std::vector<Value>> RankAgreement::ExchangeInEach(const std::vector<Communicator*>& groups,
                                                              const std::vector<Value>& mine) {
  std::vector<std::vector<Value>> heard(groups.size());
  for (size_t first = 0; first < groups.size(); ++first) {
    if (!heard[first].empty()) continue;  // exchanged together with an earlier group
    std::vector<size_t> places;
    List said;
    for (size_t i = first; i < groups.size(); ++i) {
      if (groups[i] != groups[first]) continue;
      places.push_back(i);
      said.push_back(mine[i]);
    }
    for (const Value& theirs : Exchange(*groups[first], said)) {
      for (size_t i = 0; i < places.size(); ++i) {
        heard[places[i]].push_back(theirs.IsNone() ? Value() : theirs.AsList().at(i));
      }
    }
  }
  return heard;
}

void RankAgreement::ThrowIfRefused() const {
  if (failure_) std::rethrow_exception(failure_);
  if (peer_failure_) throw SemanticError("RuntimeError", *peer_failure_);
}

void AgreeOnTexts(Communicator* group, RankAgreement& agreement, const std::string& what,
                  const std::vector<std::string>& mine) {
  std::vector<Value> all;
  if (group) all = agreement.Exchange(*group, ToValue(mine));
  agreement.ThrowIfRefused();
  for (size_t rank = 1; rank < all.size(); ++rank) {
    const std::vector<std::string> first = all.front().AsStrings();
    const std::vector<std::string> other = all[rank].AsStrings();
    for (size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
      const std::string one = i < first.size() ? first[i] : "nothing";
      const std::string two = i < other.size() ? other[i] : "nothing";
      if (one == two) continue;
      const auto name = [&](size_t index) { return "rank " + std::to_string(group->global_ranks()[index]); };
      throw SemanticError("RuntimeError",
                          "the ranks have different " + what + ": " + name(0) + " " + one + ", " + name(rank) + " " + two);
    }
  }
}

void AgreeOnEntries(Communicator& group, const std::vector<EntryNote>& notes) {
  List mine;
  for (const EntryNote& note : notes) mine.push_back(TextOf(note));
  const std::vector<Value> all = RankAgreement().Exchange(group, mine);
  const auto refused = std::ranges::find_if(notes, [](const EntryNote& note) { return note.refusal.has_value(); });
  if (refused != notes.end()) throw SemanticError(*refused->refusal);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    for (size_t i = 0; i < notes.size(); ++i) {
      const std::string& other = all[rank].AsList().at(i).AsString();
      if (other == mine[i].AsString()) continue;
      throw SemanticError("RuntimeError", "the entries of \"" + notes[i].key + "\" cannot be gathered: rank " +
                                              std::to_string(group.rank()) + " has " + mine[i].AsString() + ", rank " +
                                              std::to_string(rank) + " has " + other);
    }
  }
}

}  // namespace shardcts::reference
