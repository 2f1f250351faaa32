// A rank without MPI and LibTorch that follows docs/formats.md and misbehaves on demand, for the tests of the
// launcher.
//
// The test's id says how it behaves in a test: "…_BEHAVIOUR@RANK/…" (RANK a number or `all`; the other ranks
// pass, or wait for the end when the behaviour keeps them waiting), "…_BEHAVIOUR_in_2@RANK/…" in its second phase. How it
// starts: the plan's option `start`. In a phase every rank leaves a file in the test's folder and fails when those of
// the phase before are not there.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "control/connection.h"
#include "control/testing/own_connection.h"
#include "process/process.h"
#include "process/processors.h"
#include "run_files/plan.h"
#include "run_files/run_folder.h"
#include "start/parent_end.h"
#include "start/warm_server.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

void Sleep(int milliseconds_to_sleep) { std::this_thread::sleep_for(milliseconds(milliseconds_to_sleep)); }

[[noreturn]] void SleepForever() {
  while (true) Sleep(1000);
}

class FakeRank {
 public:
  FakeRank(Plan plan, int rank, bool warm)
      : plan_(std::move(plan)), connection_(plan_.pool_folder, rank, std::chrono::seconds(60)), rank_(connection_.rank()),
        warm_(warm) {
    events_.open(EventFile(plan_.pool_folder, rank_), std::ios::app);
    if (plan_.launched) EndWithParent(EventFile(plan_.pool_folder, rank_), rank_);
    [[maybe_unused]] const FILE* log = std::freopen(RankLog(plan_.pool_folder, rank_).c_str(), "a", stderr);
  }

  void Run() {
    Write({{"event", "rank_started"},
           {"pid", ::getpid()},
           {"host", HostName()},
           {"world_size", plan_.world_size},
           {"start", warm_ ? "warm" : "cold"}});
    const auto how = plan_.implementation.options.find("start");
    Start(how == plan_.implementation.options.end() ? "" : how->second);
    Write({{"event", "pool_ready"},
           {"seconds", 0.01},
           {"implementation",
            {{"name", "fake"},
             {"version", "1"},
             {"based_on", "base"},
             {"capabilities", {"core"}},
             {"notes", {{"torch", "none"}, {"base", "7.1"}}}}}});
    for (size_t index = 0; index < plan_.tests.size(); ++index) RunTest(plan_.tests[index], index);
    Write({{"event", "pool_finished"}});
    connection_.Tell(Farewell{});
  }

 private:
  void Write(Json event) {
    event["rank"] = rank_;
    event["time"] = 0.0;
    events_ << event.dump() << "\n" << std::flush;
  }

  // "load_HOW": the same, while the implementation is made. "world3_HOW": on 3 ranks only. "second_HOW": in the second
  // pool of a world only; "later_HOW": in all but the first.
  void Start(std::string how) {
    const bool first = plan_.pool_folder.string().ends_with("-0");
    const bool second = plan_.pool_folder.string().ends_with("-1");
    if (how.starts_with("second_")) how = second ? how.substr(7) : "";
    if (how.starts_with("later_")) how = first ? "" : how.substr(6);
    if (how.starts_with("world3_")) how = plan_.world_size == 3 ? how.substr(7) : "";
    if (how.starts_with("load_")) {
      Write({{"event", "implementation_started"}});
      how = how.substr(5);
    }
    if (how == "slow") Sleep(400);
    if (how == "hang") SleepForever();
    if (how == "die" && rank_ == 0) ::kill(::getpid(), SIGSEGV);
    if (how == "input" || how == "harness") {
      const bool cause = rank_ == 1 || plan_.world_size == 1;
      if (cause) Sleep(50);
      Write({{"event", "pool_failed"},
             {"kind", cause ? how : "harness"},
             {"message", cause ? "no such module x" : "a peer failed"}});
      std::exit(1);
    }
  }

  // Waits until the event is `count` times in every rank's file: ranks run their tests together.
  void AwaitPeers(const std::string& event, size_t count) const {
    for (int rank = 0; rank < plan_.world_size; ++rank) {
      for (size_t seen = 0; seen < count; Sleep(1)) {
        std::ifstream file(EventFile(plan_.pool_folder, rank));
        seen = 0;
        for (std::string line; std::getline(file, line);) seen += line.find("\"" + event + "\"") != line.npos ? 1 : 0;
      }
    }
  }

  void RunTest(const std::string& test, size_t index) {
    AwaitPeers("pool_ready", 1);
    AwaitPeers("test_finished", index);
    WriteOfTest(index, {{"event", "test_started"}});
    const std::string recording = plan_.recordings[index];
    WriteTrace(index);
    std::cerr << "running " << recording << std::endl;
    const bool found = UseFolder(index);
    const std::string behaviour = BehaviourNow(test, index);
    const std::string verdict = found ? Misbehave(behaviour, recording) : "fail";
    std::cerr << "ran " << recording << " on " << AllowedProcessors().size() << " processors" << std::endl;
    Finish(test, index, verdict);
    if (behaviour.find("die_after@" + std::to_string(rank_)) != test.npos) ::kill(::getpid(), SIGKILL);
  }

  void WriteOfTest(size_t index, Json event) {
    event["test"] = plan_.tests[index];
    event["index"] = index;
    if (plan_.phases[index]) event["phase"] = plan_.phases[index]->index + 1;
    Write(std::move(event));
  }

  // The test's id, without what belongs to another phase.
  std::string BehaviourNow(const std::string& test, size_t index) const {
    const size_t in = test.find("_in_");
    if (in == test.npos || !plan_.phases[index]) return test;
    const bool now = std::stoul(test.substr(in + 4)) == plan_.phases[index]->index + 1;
    return now ? test.substr(0, in) + test.substr(test.find('@')) : test.substr(0, in);
  }

  bool UseFolder(size_t index) const {
    if (!plan_.phases[index]) return true;
    const size_t phase = plan_.phases[index]->index;
    const std::filesystem::path& folder = plan_.phases[index]->folder;
    std::ofstream(folder / ("phase-" + std::to_string(phase + 1) + "-rank-" + std::to_string(rank_))) << "was here\n";
    return phase == 0 || std::filesystem::exists(folder / ("phase-" + std::to_string(phase) + "-rank-0"));
  }

  void WriteTrace(size_t index) {
    std::filesystem::path folder = TestTraces(plan_.trace_folder, plan_.recordings[index]);
    if (plan_.phases[index]) folder = PhaseTraces(folder, plan_.phases[index]->index);
    const auto file = RankTrace(folder, rank_);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream trace(file, std::ios::app);
    trace << Json{{"step", 0}, {"op", "model.build"}, {"args", {{"rank", rank_}}}, {"outcome", {{"value", 1}}}}.dump()
          << "\n";
  }

  // Returns the verdict of this rank.
  std::string Misbehave(const std::string& test, const std::string& recording) {
    const size_t at = test.find('@');
    if (at == test.npos) return "pass";
    const std::string who = test.substr(at + 1, test.find('/', at) - at - 1);
    const std::string what = test.substr(test.rfind('.', at) + 6, at - test.rfind('.', at) - 6);
    const bool mine = who == "all" || who == std::to_string(rank_);
    if (what == "told" && mine) {
      Write({{"event", "rank_crashed"}, {"signal", SIGSEGV}});
      ::kill(::getpid(), SIGKILL);
    }
    if (what == "told" || what == "crash" || what == "hang" || what == "exit0" || what == "failstuck") {
      if (what == "failstuck" && mine) return "fail";
      if (what == "crash" && mine) ::kill(::getpid(), SIGKILL);
      if (what == "exit0" && mine) ::_exit(0);
      if (what != "hang" || mine) SleepForever();
    }
    if (what == "half_closed" || what == "noise" || what == "silent" || what == "raises") {
      if (mine) MisbehaveOnTheConnection(what);
      connection_.Exchange({}, {Together::kOperation, "model.forward", 3, ""});  // does not return
      SleepForever();
    }
    if (what == "garbage" && mine) events_ << "{\"event\": \"test_fin\x01 garbage\n" << std::flush;
    if (what == "fail" || what == "not_supported") return mine ? what : what == "fail" ? "aborted" : "pass";
    const bool second = recording.ends_with("+repetition=2");
    if (what == "flaky" && second) return mine ? "fail" : "aborted";
    if (what == "flaky_crash" && second && mine) ::kill(::getpid(), SIGKILL);
    if (what == "flaky_crash" && second) SleepForever();
    if (what == "wavering") return second ? "not_supported" : "pass";
    if (what == "slow") Sleep(150);
    if (what == "remove_folder" && rank_ == 0) RemoveFolders();
    return "pass";
  }

  void RemoveFolders() const {
    Sleep(100);  // the others have written theirs
    for (const auto& phase : plan_.phases) {
      if (phase) std::filesystem::remove_all(phase->folder);
    }
  }

  void MisbehaveOnTheConnection(const std::string& what) {
    const int socket = OwnControlSocket();
    if (what == "half_closed") ::shutdown(socket, SHUT_WR);
    if (what == "noise") [[maybe_unused]] const ssize_t sent = ::send(socket, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    if (what == "raises") connection_.Tell(RaisedError{"model.build", 2, "RuntimeError: out of paper"});
    SleepForever();
  }

  void Finish(const std::string& test, size_t index, const std::string& verdict) {
    Json checks = {{"C1", {{"evaluated", 2}, {"strict", 1}, {"failed", verdict == "fail" ? 1 : 0}}}};
    if (test.find("incomplete@") != test.npos) checks = Json::object();
    Json failures = Json::array();
    if (verdict == "fail") {
      failures.push_back(
          {{"check", "C1"}, {"message", "expected 1, got 2"}, {"file", "x.cc"}, {"line", 3}, {"operation", ""}});
    }
    WriteOfTest(index, {{"event", "test_finished"},
                        {"verdict", verdict},
                        {"reason", ""},
                        {"seconds", 0.001},
                        {"operations", 1},
                        {"checks", checks},
                        {"device_limited", Json::object()},
                        {"failures", failures}});
  }

  const Plan plan_;
  ControlConnection connection_;
  const int rank_;
  const bool warm_;
  std::ofstream events_;
};

}  // namespace
}  // namespace shardcts

namespace {

// What the option `warm` asks for: "fail", "die", "hang", "threads"; otherwise nothing is to be loaded.
void FakePreload(const shardcts::ImplementationSpec& implementation) {
  const auto found = implementation.options.find("warm");
  const std::string how = found == implementation.options.end() ? "" : found->second;
  if (how == "fail") throw std::runtime_error("cannot be\npreloaded");
  if (how == "die") ::kill(::getpid(), SIGSEGV);
  if (how == "hang") shardcts::SleepForever();
  if (how == "threads") std::thread(shardcts::SleepForever).detach();
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  const bool warm = words.size() == 3 && words[1] == "--warm";
  if (warm) words = shardcts::ForkRanks(words[2], FakePreload);
  if (words.size() != 3 && words.size() != 5) return 2;
  const char* of_launcher = std::getenv("PMI_RANK");
  const int rank = words.size() == 5 ? std::stoi(words[4]) : of_launcher == nullptr ? -1 : std::atoi(of_launcher);
  shardcts::FakeRank(shardcts::ReadPlan(words[2]), rank, warm).Run();
  return 0;
}
