#include "suites/storage/crash_points.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

#include "faults/power_loss.h"
#include "inventory/phases.h"
#include "rank/run_seed.h"
#include "rank/session.h"
#include "run_files/death_note.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/worlds.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;
using faults::Action;
using faults::Kind;
using faults::Operation;

std::string NoteOf(const Trial& t, size_t index, const std::string& what) {
  return t.Folder() + "/notes/" + std::to_string(index) + "-" + what;
}

void WriteNote(const std::string& file, const std::string& text) {
  fs::create_directories(fs::path(file).parent_path());
  std::ofstream(file) << text << "\n";
}

std::string Describe(const Operation& operation) {
  std::string text = fmt::format("operation {}, {} {}", operation.number, NameOf(operation.kind), operation.path);
  if (!operation.to.empty()) text += " to " + operation.to;
  if (operation.kind == Kind::kWrite) text += fmt::format(" ({} bytes)", operation.length);
  return text;
}

// SHARDCTS_CRASH_POINTS, a number; "all" is 0.
std::optional<int64_t> WantedPoints() {
  const char* wanted = std::getenv("SHARDCTS_CRASH_POINTS");
  return wanted ? std::optional(std::atoll(wanted)) : std::nullopt;
}

// Of each of so many parts one, by the run's seed.
std::vector<CrashPoint> Thinned(const std::vector<CrashPoint>& points, int64_t at_most) {
  if (at_most <= 0 || static_cast<size_t>(at_most) >= points.size()) return points;
  std::mt19937_64 random(static_cast<uint64_t>(RunSeed()));
  const size_t parts = static_cast<size_t>(at_most);
  std::vector<CrashPoint> some;
  for (size_t part = 0; part < parts; ++part) {
    const size_t begin = part * points.size() / parts, end = (part + 1) * points.size() / parts;
    some.push_back(points[begin + random() % (end - begin)]);
  }
  return some;
}

// Reads and raises the number of the point that is next. *Collective*.
size_t TakePoint(Trial& t) {
  const std::string file = t.Folder() + "/next-point";
  int64_t next = 0;
  if (t.rank() == 0) {
    std::ifstream(file) >> next;
    std::ofstream(file) << next + 1 << "\n";
  }
  return static_cast<size_t>(t.FromRank0(next).AsInt());
}

void TryPoint(Trial& t, const CrashPoint& point, size_t index, const std::function<void(size_t)>& save) {
  if (t.rank() == point.rank) {
    faults::Arm({.root = t.Folder(PointFolder(index)), .rank = t.rank(), .at = point.number, .action = point.action,
                 .death_note = DeathNote(t.Folder()).string()});
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto note = [&](const std::string& how) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    WriteNote(NoteOf(t, index, "rank-" + std::to_string(t.rank())), fmt::format("{} {:.3f}", how, seconds.count()));
  };
  try {
    save(index);
    note("done");
  } catch (const OperationFailed&) {
    note("failed");
  } catch (const PeerStopped&) {  // thrown after the error of an operation
    note("failed");
    throw;
  }
  if (t.rank() != point.rank) return;
  faults::Disarm();
  WriteNote(NoteOf(t, index, "missed"), "");
}

}  // namespace

SeenSave Watch(Trial& t, const std::string& folder, const std::function<void()>& save) {
  const auto log_of = [&](int rank) { return t.Folder() + "/" + folder + "-log-" + std::to_string(rank); };
  const std::string root = t.Folder(folder);
  if (t.rank() == 0) fs::create_directories(root);
  t.AllGather(Value());
  const faults::FileTree before = faults::ReadTree(root);
  t.AllGather(Value());
  faults::Arm({.root = root, .log = log_of(t.rank()), .rank = t.rank(), .with_bytes = true});
  save();
  const faults::Seen seen = faults::Disarm();
  List unseen;
  for (const std::string& what : seen.unseen) unseen.push_back(what);
  if (t.rank() == 0 && !faults::IsInPlace()) unseen.push_back("the fault layer does not stand before libc");
  SeenSave result;
  for (const Value& of_rank : t.AllGather(unseen)) {
    for (const Value& what : of_rank.AsList()) result.unseen += (result.unseen.empty() ? "" : ", ") + what.AsString();
  }
  for (int rank = 0; rank < t.world_size(); ++rank) {
    const std::vector<Operation> own = faults::ReadLog(log_of(rank));
    result.operations.insert(result.operations.end(), own.begin(), own.end());
  }
  std::ranges::stable_sort(result.operations, {}, &Operation::end_ns);
  if (result.unseen.empty()) result.unseen = faults::DifferenceToLog(before, result.operations, faults::ReadTree(root));
  t.AllGather(Value());
  return result;
}

void RequireSeen(const SeenSave& save) {
  if (save.unseen.empty() && !save.operations.empty()) return;
  throw OptionNotSupported("the fault layer does not see how the files are made: " +
                           (save.unseen.empty() ? "no operation" : save.unseen));
}

std::vector<CrashPoint> CrashPointsOf(const std::vector<Operation>& operations, int64_t at_most) {
  const std::optional<int64_t> wanted = WantedPoints();
  const bool after_each = wanted && *wanted <= 0;
  std::vector<CrashPoint> points;
  std::map<int, const Operation*> last;
  for (const Operation& operation : operations) {
    const auto add = [&](Action action, const std::string& when) {
      points.push_back({operation.rank, operation.number, action,
                        fmt::format("rank {} killed {} {}", operation.rank, when, Describe(operation))});
    };
    add(Action::kKillBefore, "before");
    if (operation.kind == Kind::kWrite && operation.length > 1) add(Action::kKillHalf, "half-way through");
    if (after_each) add(Action::kKillAfter, "after");
    last[operation.rank] = &operation;
  }
  if (after_each) return points;
  for (const auto& [rank, operation] : last) {
    points.push_back({rank, operation->number, Action::kKillAfter,
                      fmt::format("rank {} killed after {}", rank, Describe(*operation))});
  }
  return Thinned(points, wanted.value_or(at_most));
}

std::string PointFolder(size_t index) { return "point-" + std::to_string(index); }
std::string PointCheckpoint(size_t index) { return PointFolder(index) + "/checkpoint"; }

void WritePoints(const Trial& t, const std::vector<CrashPoint>& points) {
  if (t.rank() != 0) return;
  Json json = Json::array();
  for (const CrashPoint& point : points)
    json.push_back({point.rank, point.number, static_cast<int>(point.action), point.text});
  std::ofstream(t.Folder() + "/points.json") << json.dump();
}

std::vector<CrashPoint> ReadPoints(const Trial& t) {
  std::ifstream file(t.Folder() + "/points.json");
  std::vector<CrashPoint> points;
  for (const Json& one : Json::parse(file))
    points.push_back({one.at(0), one.at(1), static_cast<Action>(one.at(2).get<int>()), one.at(3)});
  return points;
}

void TryPoints(Trial& t, const std::function<void(size_t)>& prepare, const std::function<void(size_t)>& save) {
  const std::vector<CrashPoint> points = ReadPoints(t);
  for (size_t index = TakePoint(t); index < points.size(); index = TakePoint(t)) {
    if (t.rank() == 0) prepare(index);
    t.AllGather(Value());
    TryPoint(t, points[index], index, save);
    t.AllGather(Value());  // PeerStopped where a rank has died
  }
}

std::vector<Survivor> SurvivorsOf(const Trial& t, size_t index) {
  std::vector<Survivor> survivors;
  for (int rank = 0; rank < t.Phases().front().world_size; ++rank) {
    std::ifstream file(NoteOf(t, index, "rank-" + std::to_string(rank)));
    std::string how;
    double seconds = 0;
    if (file >> how >> seconds) survivors.push_back({rank, how == "failed", seconds});
  }
  return survivors;
}

bool WasMissed(const Trial& t, size_t index) { return fs::exists(NoteOf(t, index, "missed")); }

}  // namespace shardcts::storage
