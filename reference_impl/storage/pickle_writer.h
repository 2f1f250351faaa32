// Writes pickles. A pickle that is written runs nothing. *Local*.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts::reference {

// Texts and names that come again are written once and recalled. Protocol 2 names are read by every Python; all else is
// written in the same way for all protocols.
class PickleWriter {
 public:
  explicit PickleWriter(uint8_t protocol);
  PickleWriter& None();
  PickleWriter& Bool(bool value);
  PickleWriter& Int(int64_t value);
  PickleWriter& Double(double value);
  PickleWriter& Text(std::string_view utf8);
  PickleWriter& Ints(const std::vector<int64_t>& values);  // a tuple
  PickleWriter& EmptyTuple();
  PickleWriter& EmptyList();
  PickleWriter& EmptyDict();
  PickleWriter& Mark();
  PickleWriter& TupleFromMark();
  PickleWriter& AppendsFromMark();   // to the list in front of the mark
  PickleWriter& SetItemsFromMark();  // of the dict in front of the mark
  PickleWriter& Name(std::string_view module, std::string_view name);
  PickleWriter& Call();        // of the name and the tuple on the stack
  PickleWriter& New();         // the same for a class
  PickleWriter& State();       // what is on top becomes the state of what is below
  PickleWriter& Persistent();  // what is on top is the id of an object outside
  std::string Finish();

 private:
  void Put(uint8_t byte) { bytes_ += static_cast<char>(byte); }
  void PutNumber(uint64_t number, size_t bytes);
  // True: it has been written before, and is recalled. False: write it and then call Keep.
  bool Recalled(const std::string& what);
  void Keep(const std::string& what);
  std::string bytes_;
  std::map<std::string, size_t> memo_;
};

}  // namespace shardcts::reference
