#include "storage/together.h"

#include <c10/util/Exception.h>

#include "serialization/value_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr RankOfWorld kAnyone{};

// "" when the step has ended well.
std::string ComplaintOf(const std::function<void()>& step) {
  try {
    step();
    return "";
  } catch (const SemanticError& error) {
    return error.kind() + ": " + error.what();
  } catch (const c10::Error& error) {
    return std::string("RuntimeError: ") + error.what_without_backtrace();
  } catch (const std::exception& error) {
    return std::string("RuntimeError: ") + error.what();
  }
}

}  // namespace

std::vector<Value> Together(Communicator& group, const std::function<Value()>& step) {
  Value mine;
  const std::string complaint = ComplaintOf([&] { mine = step(); });
  if (!complaint.empty()) mine = Value();
  const std::string said = ToBytes(Dict{{"complaint", complaint}, {"says", mine}}, kAnyone);
  std::vector<Value> all;
  std::string complaints;
  for (const std::string& bytes : group.AllGatherBytes(said)) {
    const Value heard = FromBytes(bytes, kAnyone);
    const std::string& theirs = heard.AsDict().At("complaint").AsString();
    const int64_t rank = group.global_ranks()[all.size()];
    if (!theirs.empty()) complaints += (complaints.empty() ? "rank " : "; rank ") + std::to_string(rank) + ": " + theirs;
    all.push_back(heard.AsDict().At("says"));
  }
  if (!complaints.empty()) throw SemanticError("CheckpointException", complaints);
  return all;
}

void Alone(const std::function<void()>& step) {
  const std::string complaint = ComplaintOf(step);
  if (!complaint.empty()) throw SemanticError("CheckpointException", complaint);
}

}  // namespace shardcts::reference
