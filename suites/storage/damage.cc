#include "suites/storage/damage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <random>

#include "suites/storage/files_on_disk.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDeep = 100'000;

// One file that is damaged, and the parts of it that stay.
class Victim {
 public:
  Victim(std::string content, const std::vector<std::string>& data, uint64_t seed)
      : content_(std::move(content)), random_(seed) {
    for (const std::string& bytes : data) {
      const size_t place = bytes.empty() ? content_.npos : content_.find(bytes);
      if (place != content_.npos) kept_.emplace_back(place, place + bytes.size());
    }
  }

  const std::string& content() const { return content_; }
  size_t Chosen(size_t count) { return count == 0 ? 0 : random_() % count; }

  // Each returns what it has done; "": there is nothing to do it to.
  std::string FlipBits() {
    const size_t bits = 1 + Chosen(3);
    std::string text;
    for (size_t i = 0; i < bits; ++i) {
      const size_t place = Place(1);
      if (place == content_.npos) continue;
      content_[place] = static_cast<char>(content_[place] ^ (1 << Chosen(8)));
      text += fmt::format("{}a bit of byte {} flipped", text.empty() ? "" : ", ", place);
    }
    return text;
  }
  std::string Cut() {
    if (content_.empty()) return {};
    content_.resize(Chosen(content_.size()));
    return fmt::format("cut to {} bytes", content_.size());
  }
  std::string PutIn() {
    const size_t place = Chosen(content_.size() + 1), count = 1 + Chosen(64);
    std::string bytes;
    for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(random_());
    content_.insert(place, bytes);
    return fmt::format("{} bytes put in at {}", count, place);
  }
  std::string LeaveOut() {
    if (content_.empty()) return {};
    const size_t place = Chosen(content_.size()), count = std::min(1 + Chosen(64), content_.size() - place);
    content_.erase(place, count);
    return fmt::format("{} bytes left out at {}", count, place);
  }
  std::string Repeat() {
    if (content_.empty()) return {};
    const size_t place = Chosen(content_.size()), count = std::min(1 + Chosen(200), content_.size() - place);
    content_.insert(place, content_.substr(place, count));
    return fmt::format("{} bytes there twice at {}", count, place);
  }
  std::string PutNumber() {
    const size_t width = size_t{1} << Chosen(4), place = Place(width);
    if (place == content_.npos) return {};
    const auto number = static_cast<uint64_t>(EdgeNumber(random_()));
    for (size_t i = 0; i < width; ++i) content_[place + i] = static_cast<char>(number >> (8 * i));
    return fmt::format("the {} bytes at {} are {}", width, place, static_cast<int64_t>(number));
  }
  std::string WriteNumber() {
    const std::vector<std::pair<size_t, size_t>> numbers = Runs([](char c) { return std::isdigit(c & 0x7f) && c > 0; });
    if (numbers.empty()) return {};
    const auto [begin, end] = numbers[Chosen(numbers.size())];
    const std::string number = std::to_string(EdgeNumber(random_()));
    content_.replace(begin, end - begin, number);
    return fmt::format("the number at {} is {}", begin, number);
  }
  std::string WriteName() {
    static const std::array<std::string, 6> kNames = {"", "..", "../outside", "/etc/passwd", ".", std::string(5000, 'n')};
    const auto names = Quoted();
    if (names.empty()) return {};
    const auto [begin, end] = names[Chosen(names.size())];
    const std::string& name = kNames[Chosen(kNames.size())];
    content_.replace(begin, end - begin, name);
    return fmt::format("the text at {} is \"{}\"", begin, name.substr(0, 20));
  }
  std::string RepeatName() {
    const auto names = Quoted();
    if (names.size() < 2) return {};
    const auto [begin, end] = names[Chosen(names.size())];
    const auto [other_begin, other_end] = names[Chosen(names.size())];
    const std::string name = content_.substr(other_begin, other_end - other_begin);
    content_.replace(begin, end - begin, name);
    return fmt::format("the text at {} is \"{}\", which is there already", begin, name.substr(0, 20));
  }
  std::string Nest() {
    std::vector<size_t> colons;
    for (size_t i = 0; i + 1 < content_.size(); ++i) {
      if (content_[i] == '"' && content_[i + 1] == ':') colons.push_back(i + 2);
    }
    if (colons.empty()) return {};
    const size_t place = colons[Chosen(colons.size())];
    content_.insert(place, std::string(kDeep, '['));
    return fmt::format("{} brackets put in at {}", kDeep, place);
  }

 private:
  // Of so many bytes outside of what stays; npos: none was found.
  size_t Place(size_t bytes) {
    for (int i = 0; i < 100 && content_.size() >= bytes; ++i) {
      const size_t place = Chosen(content_.size() - bytes + 1);
      if (std::ranges::none_of(kept_, [&](const auto& k) { return place < k.second && place + bytes > k.first; }))
        return place;
    }
    return content_.npos;
  }
  template <typename Is>
  std::vector<std::pair<size_t, size_t>> Runs(const Is& is) const {
    std::vector<std::pair<size_t, size_t>> runs;
    for (size_t i = 0; i < content_.size(); ++i) {
      if (!is(content_[i])) continue;
      const size_t begin = i;
      while (i < content_.size() && is(content_[i])) ++i;
      const bool is_kept = std::ranges::any_of(kept_, [&](const auto& k) { return begin < k.second && i > k.first; });
      if (!is_kept) runs.emplace_back(begin, i);
    }
    return runs;
  }
  // Between two quotation marks.
  std::vector<std::pair<size_t, size_t>> Quoted() const {
    std::vector<std::pair<size_t, size_t>> quoted;
    size_t begin = content_.npos;
    for (size_t i = 0; i < content_.size(); ++i) {
      if (content_[i] != '"') continue;
      if (begin == content_.npos) {
        begin = i + 1;
      } else {
        quoted.emplace_back(begin, i);
        begin = content_.npos;
      }
    }
    return quoted;
  }

  std::string content_;
  std::vector<std::pair<size_t, size_t>> kept_;
  std::mt19937_64 random_;
};

std::string DamageContent(Victim& victim) {
  static constexpr std::array kWays = {&Victim::FlipBits, &Victim::Cut,        &Victim::PutIn,     &Victim::LeaveOut,
                                       &Victim::Repeat,   &Victim::PutNumber,  &Victim::WriteNumber,
                                       &Victim::WriteName, &Victim::RepeatName, &Victim::Nest};
  for (;;) {
    const std::string text = (victim.*kWays[victim.Chosen(kWays.size())])();
    if (!text.empty()) return text;
  }
}

}  // namespace

int64_t EdgeNumber(uint64_t choice) {
  static constexpr std::array<int64_t, 18> kEdges = {
      0, 1, -1, 2, 7, 255, 256, 4096, 65535, INT32_MAX, INT64_C(1) << 31, INT64_C(1) << 32, INT64_C(1) << 58,
      INT64_C(1) << 60, INT64_C(1) << 62, INT64_MAX, INT64_MIN, INT64_MAX - 7};
  return kEdges[choice % kEdges.size()];
}

CheckpointFiles FilesBelow(const std::string& folder) {
  CheckpointFiles found;
  for (const auto& [name, digest] : DigestsBelow(folder)) found.files[name] = ContentOf(folder + "/" + name);
  return found;
}

void WriteFiles(const CheckpointFiles& files, const std::string& folder) {
  for (const auto& [name, content] : files.files) {
    const fs::path path = fs::path(folder) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  for (const auto& [name, target] : files.links) {
    fs::create_directories((fs::path(folder) / name).parent_path());
    fs::create_symlink(target, fs::path(folder) / name);
  }
}

Damaged Damage(const CheckpointFiles& right, const std::vector<std::string>& data, uint64_t seed) {
  std::mt19937_64 random(seed);
  Damaged damaged{right, {}};
  auto chosen = damaged.files.files.begin();
  std::advance(chosen, random() % right.files.size());
  const std::string name = chosen->first;
  const auto done = [&](const std::string& text) { damaged.text = name + ": " + text; };
  switch (random() % 20) {
    case 0:
      damaged.files.files.erase(chosen);
      done("is missing");
      break;
    case 1:
      damaged.files.links[name] = random() % 2 ? "/etc/passwd" : "/dev/zero";
      damaged.files.files.erase(chosen);
      done("is a link to " + damaged.files.links[name]);
      break;
    case 2:
      chosen->second.clear();
      done("is empty");
      break;
    default: {
      Victim victim(chosen->second, data, random());
      done(DamageContent(victim));
      chosen->second = victim.content();
    }
  }
  return damaged;
}

}  // namespace shardcts::storage
