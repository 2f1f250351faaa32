// A line of a log: the fields in order, with a space in between; texts with %XX for what is not plain, "-" for none.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "faults/faults.h"

namespace shardcts::faults {
namespace {

constexpr std::array kNames = {"open", "write", "truncate", "allocate", "copy", "sync", "sync_range", "close", "mkdir",
                               "rename", "link", "unlink", "rmdir", "read"};
constexpr char kDigits[] = "0123456789abcdef";

bool IsPlain(char letter) { return letter > ' ' && letter < 127 && letter != '%'; }

std::string Escaped(const std::string& text) {
  if (text.empty()) return "-";
  if (text == "-") return "%2d";
  std::string escaped;
  for (const char letter : text) {
    if (IsPlain(letter)) {
      escaped += letter;
    } else {
      const auto byte = static_cast<unsigned char>(letter);
      escaped += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return escaped;
}

std::string Unescaped(const std::string& text) {
  if (text == "-") return "";
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 2 >= text.size()) {
      plain += text[i];
      continue;
    }
    plain += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
    i += 2;
  }
  return plain;
}

Kind KindNamed(const std::string& name) {
  for (size_t kind = 0; kind < kNames.size(); ++kind) {
    if (name == kNames[kind]) return static_cast<Kind>(kind);
  }
  throw std::runtime_error("no kind of operation: \"" + name + "\"");
}

Operation FromLine(const std::string& line) {
  std::istringstream fields(line);
  Operation operation;
  std::string kind, path, to, bytes;
  fields >> operation.rank >> operation.number >> kind >> operation.flags >> operation.offset >> operation.length >>
      operation.result >> operation.error >> operation.file >> operation.begin_ns >> operation.end_ns >> path >> to >>
      bytes;
  if (!fields) throw std::runtime_error("no line of a log: \"" + line.substr(0, 80) + "\"");
  operation.kind = KindNamed(kind);
  operation.path = Unescaped(path);
  operation.to = Unescaped(to);
  operation.bytes = Unescaped(bytes);
  return operation;
}

}  // namespace

const char* NameOf(Kind kind) { return kNames[static_cast<size_t>(kind)]; }

std::string ToLine(const Operation& o) {
  std::string line;
  const auto add = [&](const std::string& field) { line += (line.empty() ? "" : " ") + field; };
  add(std::to_string(o.rank));
  add(std::to_string(o.number));
  add(NameOf(o.kind));
  add(std::to_string(o.flags));
  for (const int64_t number : {o.offset, o.length, o.result}) add(std::to_string(number));
  add(std::to_string(o.error));
  for (const uint64_t number : {o.file, o.begin_ns, o.end_ns}) add(std::to_string(number));
  for (const std::string& text : {o.path, o.to, o.bytes}) add(Escaped(text));
  return line;
}

std::vector<Operation> ReadLog(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error(file + ": cannot be read");
  std::stringstream all;
  all << stream.rdbuf();
  const std::string text = all.str();
  std::vector<Operation> operations;
  for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    operations.push_back(FromLine(text.substr(begin, end - begin)));
  }
  return operations;
}

bool IsInPlace() {
  char folder[] = "/tmp/shardcts-faults-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return false;
  Arm({.root = folder});
  const std::string file = std::string(folder) + "/seen";
  const int descriptor = ::open(file.c_str(), O_CREAT | O_WRONLY, 0600);
  const bool written = ::write(descriptor, "x", 1) == 1;
  ::close(descriptor);
  ::unlink(file.c_str());
  const Seen seen = Disarm();
  ::rmdir(folder);
  return written && seen.operations == 4;
}

}  // namespace shardcts::faults
