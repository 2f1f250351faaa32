#include "storage/untrusted_json.h"

#include <set>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr size_t kMaxDims = 64;

// Reads the text once without keeping anything, and says what is wrong with its form.
class FormCheck final : public nlohmann::json_sax<FileJson> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return Deeper(); }
  bool end_object() override { return Higher(); }
  bool start_array(size_t) override { return Deeper(); }
  bool end_array() override { return Higher(); }
  bool key(string_t& text) override {
    if (keys_.back().insert(text).second) return true;
    problem = "has the key \"" + text + "\" twice";
    return false;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    problem = "is no JSON at byte " + std::to_string(position);
    return false;
  }
  std::string problem;

 private:
  bool Deeper() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxJsonDepth) return true;
    problem = "is nested more than " + std::to_string(kMaxJsonDepth) + " deep";
    return false;
  }
  bool Higher() {
    keys_.pop_back();
    return true;
  }
  std::vector<std::set<std::string>> keys_;  // of the objects around
};

}  // namespace

FileJson ParseUntrusted(std::string_view text, const std::string& what) {
  FormCheck check;
  if (!FileJson::sax_parse(text.begin(), text.end(), &check)) {
    throw SemanticError("RuntimeError", what + " " + check.problem);
  }
  return FileJson::parse(text.begin(), text.end());
}

void UntrustedPlace::Fail(const std::string& problem) const {
  throw SemanticError("RuntimeError", where + ": " + problem);
}

UntrustedPlace UntrustedPlace::At(const std::string& key) const {
  if (!json->is_object()) Fail("expected an object");
  const auto found = json->find(key);
  if (found == json->end()) Fail("has no \"" + key + "\"");
  return {&*found, where + ": " + key};
}

const std::string& UntrustedPlace::Text() const {
  if (!json->is_string()) Fail("expected a text");
  return json->get_ref<const std::string&>();
}

int64_t UntrustedPlace::Number() const {
  if (json->is_number_unsigned() && json->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) Fail("a number beyond 2^63");
  if (!json->is_number_integer()) Fail("expected an integer");
  return json->get<int64_t>();
}

std::vector<int64_t> UntrustedPlace::Numbers() const {
  std::vector<int64_t> numbers;
  for (const UntrustedPlace& element : Elements()) numbers.push_back(element.Number());
  if (numbers.size() > kMaxDims) Fail("more than " + std::to_string(kMaxDims) + " numbers");
  return numbers;
}

void UntrustedPlace::ForEach(const std::function<void(const std::string&, const UntrustedPlace&)>& visit) const {
  if (!json->is_object()) Fail("expected an object");
  for (const auto& [key, value] : json->items()) visit(key, {&value, where + ": \"" + key + "\""});
}

std::vector<UntrustedPlace> UntrustedPlace::Elements() const {
  if (!json->is_array()) Fail("expected a list");
  std::vector<UntrustedPlace> elements;
  for (size_t i = 0; i < json->size(); ++i) elements.push_back({&(*json)[i], where + "[" + std::to_string(i) + "]"});
  return elements;
}

}  // namespace shardcts::reference
