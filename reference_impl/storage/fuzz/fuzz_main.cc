// Fuzzes one reader of checkpoints with changes that know no coverage, so that any compiler builds it:
//
//     storage_fuzz TARGET SECONDS SEED CORPUS…
//
// An input that ends the process is left in storage_fuzz.input. Built with SHARDCTS_LIBFUZZER (clang), the program is
// libFuzzer's, and the target is the one that the environment names in SHARDCTS_FUZZ_TARGET.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

#include "storage/fuzz/fuzz_targets.h"

namespace {

using shardcts::reference::FuzzTarget;

const FuzzTarget& TargetNamed(std::string_view name) {
  for (const FuzzTarget& target : shardcts::reference::kFuzzTargets) {
    if (target.name == name) return target;
  }
  std::cerr << "no target \"" << name << "\"" << std::endl;
  std::exit(2);
}

}  // namespace

#ifdef SHARDCTS_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const FuzzTarget& target = TargetNamed(std::getenv("SHARDCTS_FUZZ_TARGET"));
  target.read({reinterpret_cast<const char*>(data), size});
  return 0;
}

#else

namespace {

using Random = std::minstd_rand;

// Bytes that mean something to one of the readers.
constexpr std::string_view kTokens[] = {"(",
                                        "t",
                                        ")",
                                        "R",
                                        "b",
                                        "e",
                                        "u",
                                        "s",
                                        "Q",
                                        "0",
                                        "\x94",
                                        "h\x01",
                                        "q\x01",
                                        "\x8a\x08",
                                        "\xff\xff\xff\xff",
                                        "\x7f",
                                        "PK\x03\x04",
                                        "PK\x01\x02",
                                        "PK\x05\x06",
                                        "PK\x06\x07",
                                        "-1",
                                        "9223372036854775807",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        "\"",
                                        ",",
                                        "..",
                                        "/"};

void Change(std::string& bytes, const std::vector<std::string>& corpus, Random& random) {
  const auto place = [&] { return bytes.empty() ? 0 : random() % bytes.size(); };
  const size_t at = place(), count = std::min<size_t>(1 + random() % 16, bytes.size() - at);
  switch (random() % 8) {
    case 0: if (!bytes.empty()) bytes[at] ^= static_cast<char>(1u << random() % 8); return;
    case 1: if (!bytes.empty()) bytes[at] = static_cast<char>(random()); return;
    case 2: bytes.erase(at, count); return;
    case 3: bytes.insert(place(), bytes.substr(at, count)); return;
    case 4: bytes.insert(at, kTokens[random() % std::size(kTokens)]); return;
    case 5: {
      const std::string_view token = kTokens[random() % std::size(kTokens)];
      bytes.replace(at, std::min(token.size(), bytes.size() - at), token);
      return;
    }
    case 6: bytes.resize(at); return;
    default: {  // the rest of another input
      const std::string& other = corpus[random() % corpus.size()];
      bytes = bytes.substr(0, at) + other.substr(other.empty() ? 0 : random() % other.size());
      return;
    }
  }
}

std::vector<std::string> ReadCorpus(int count, char** files) {
  std::vector<std::string> corpus;
  for (int i = 0; i < count; ++i) {
    std::ifstream file(files[i], std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return std::cerr << "storage_fuzz TARGET SECONDS SEED CORPUS…" << std::endl, 2;
  const FuzzTarget& target = TargetNamed(argv[1]);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(argv[2]));
  Random random(static_cast<unsigned>(std::atoi(argv[3])));
  const std::vector<std::string> corpus = ReadCorpus(argc - 4, argv + 4);
  for (const std::string& input : corpus) target.read(input);
  int64_t inputs = 0;
  for (; std::chrono::steady_clock::now() < end; ++inputs) {
    std::string bytes = corpus[random() % corpus.size()];
    for (size_t changes = 1 + random() % 6; changes > 0; --changes) Change(bytes, corpus, random);
    std::ofstream("storage_fuzz.input", std::ios::binary) << bytes;
    target.read(bytes);
  }
  std::filesystem::remove("storage_fuzz.input");
  std::cout << target.name << ": " << inputs << " inputs, seed " << argv[3] << std::endl;
}

#endif
