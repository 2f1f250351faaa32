#include "storage/pickle_writer.h"

#include <bit>

namespace shardcts::reference {

PickleWriter::PickleWriter(uint8_t protocol) {
  Put(0x80);
  Put(protocol);
}

void PickleWriter::PutNumber(uint64_t number, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) Put(static_cast<uint8_t>(number >> (8 * i)));
}

bool PickleWriter::Recalled(const std::string& what) {
  const auto found = memo_.find(what);
  if (found == memo_.end()) return false;
  Put(found->second < 256 ? 'h' : 'j');
  PutNumber(found->second, found->second < 256 ? 1 : 4);
  return true;
}

void PickleWriter::Keep(const std::string& what) {
  const size_t number = memo_.size();
  memo_[what] = number;
  Put(number < 256 ? 'q' : 'r');
  PutNumber(number, number < 256 ? 1 : 4);
}

PickleWriter& PickleWriter::None() { return Put('N'), *this; }
PickleWriter& PickleWriter::Bool(bool value) { return Put(value ? 0x88 : 0x89), *this; }

PickleWriter& PickleWriter::Int(int64_t value) {
  if (value >= 0 && value < 256) return Put('K'), PutNumber(static_cast<uint64_t>(value), 1), *this;
  if (value >= INT32_MIN && value <= INT32_MAX) return Put('J'), PutNumber(static_cast<uint64_t>(value), 4), *this;
  return Put(0x8a), Put(8), PutNumber(static_cast<uint64_t>(value), 8), *this;
}

PickleWriter& PickleWriter::Double(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  Put('G');
  for (int shift = 56; shift >= 0; shift -= 8) Put(static_cast<uint8_t>(bits >> shift));
  return *this;
}

PickleWriter& PickleWriter::Text(std::string_view utf8) {
  const std::string what = "text " + std::string(utf8);
  if (Recalled(what)) return *this;
  Put('X');
  PutNumber(utf8.size(), 4);
  bytes_ += utf8;
  Keep(what);
  return *this;
}

PickleWriter& PickleWriter::Ints(const std::vector<int64_t>& values) {
  Mark();
  for (const int64_t value : values) Int(value);
  return TupleFromMark();
}

PickleWriter& PickleWriter::EmptyTuple() { return Put(')'), *this; }
PickleWriter& PickleWriter::EmptyList() { return Put(']'), *this; }
PickleWriter& PickleWriter::EmptyDict() { return Put('}'), *this; }
PickleWriter& PickleWriter::Mark() { return Put('('), *this; }
PickleWriter& PickleWriter::TupleFromMark() { return Put('t'), *this; }
PickleWriter& PickleWriter::AppendsFromMark() { return Put('e'), *this; }
PickleWriter& PickleWriter::SetItemsFromMark() { return Put('u'), *this; }

PickleWriter& PickleWriter::Name(std::string_view module, std::string_view name) {
  const std::string what = "name " + std::string(module) + " " + std::string(name);
  if (Recalled(what)) return *this;
  Put('c');
  bytes_ += std::string(module) + "\n" + std::string(name) + "\n";
  Keep(what);
  return *this;
}

PickleWriter& PickleWriter::Call() { return Put('R'), *this; }
PickleWriter& PickleWriter::New() { return Put(0x81), *this; }
PickleWriter& PickleWriter::State() { return Put('b'), *this; }
PickleWriter& PickleWriter::Persistent() { return Put('Q'), *this; }

std::string PickleWriter::Finish() {
  Put('.');
  return std::move(bytes_);
}

}  // namespace shardcts::reference
