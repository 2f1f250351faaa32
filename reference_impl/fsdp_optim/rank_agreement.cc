#include "fsdp_optim/rank_agreement.h"

#include "serialization/value_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// Messages contain no ShardedTensor, so every rank may read them.
constexpr RankOfWorld kAnyone{};

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

}  // namespace shardcts::reference
