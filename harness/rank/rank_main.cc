// shardcts-rank: the process that is one rank of a pool, or all of them as threads. Started by the launcher under
// mpiexec.
#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>

#include "adapters/loader.h"
#include "comm/group_calls.h"
#include "comm/mpi_communicator.h"
#include "comm/mpi_session.h"
#include "comm/threads_communicator.h"
#include "inventory/inventory.h"
#include "mutants/mutant.h"
#include "rank/crash_report.h"
#include "rank/data_communicator.h"
#include "rank/end_notice.h"
#include "rank/event_log.h"
#include "rank/hosted_implementation.h"
#include "rank/plan.h"
#include "rank/port.h"
#include "rank/script.h"
#include "rank/session.h"
#include "rank/stack_signal.h"
#include "rank/test_runner.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"
#include "start/warm_server.h"

namespace shardcts {
namespace {

// The launcher's deadlines are shorter; this only keeps an orphan from waiting for ever.
constexpr std::chrono::seconds kControlPatience{3600};

void RedirectOutput(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return;  // the output goes where it went
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  close(file);
}

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

Json Describe(Implementation& implementation, std::vector<std::string>* capabilities) {
  const Outcome outcome = implementation.Invoke("implementation.describe", {});
  if (!outcome.ok())
    throw InputError("implementation.describe: " + outcome.error().kind + ": " + outcome.error().message);
  *capabilities = outcome.value().AsDict().At("capabilities").AsStrings();
  return Encode(outcome.value());
}

// A script counts as one test named "script".
void RunScriptAsTest(const Plan& plan, Session& session, ControlPlane& control, EventLog& events) {
  const Script script = ReadScript(plan.script);
  events.Write("test_started", {{"test", "script"}, {"index", 0}});
  session.StartTest(MakeRecorder(plan, "script", "script", script.seed, session.rank()), script.seed);
  std::string verdict = "pass";
  std::string reason;
  Json failures = Json::array();
  bool failed_early = true;
  const auto start = std::chrono::steady_clock::now();
  try {
    const ScriptResult result = RunScript(script, session);
    failed_early = false;
    for (const std::string& failure : result.failures) {
      failures.push_back({{"check", ""}, {"message", failure}, {"file", plan.script}, {"line", 0}, {"operation", ""}});
    }
    if (!result.failures.empty()) verdict = "fail", reason = result.failures.front();
  } catch (const PeerStopped& stopped) {
    verdict = "aborted", reason = stopped.what();
  } catch (const Diverged& diverged) {
    verdict = "diverged", reason = diverged.what();
  } catch (const HarnessError& error) {
    verdict = "fail", reason = error.what();  // the script's arguments do not fit the table
  }
  session.EndTest();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  events.Write("test_finished", {{"test", "script"},
                                 {"index", 0},
                                 {"verdict", verdict},
                                 {"reason", reason},
                                 {"seconds", seconds},
                                 {"operations", session.operations()},
                                 {"checks", Json::object()},
                                 {"device_limited", Json::object()},
                                 {"failures", failures}});
  control.EndOfTest(failed_early, false);  // after the event, which must not wait for a peer that is stuck
}

// The implementation's own, whose waits end when a peer has stopped the test.
std::unique_ptr<Communicator> MakeDataCommunicator(const DataCommunicator& kind, Communicator& world, int local_rank,
                                                   ControlPlane& control) {
  std::unique_ptr<Communicator> data = kind.Make(world, local_rank);
  data->AbortWhen([&control] { return control.StopOfAPeer(); });
  return data;
}

std::unique_ptr<Implementation> MakeImplementation(const Plan& plan, Communicator& data, int local_rank) {
  const ImplementationContext context{data.rank(),  data.size(),      local_rank, plan.device,
                                      plan.options, plan.pool_folder, &data};
  std::unique_ptr<Implementation> implementation = LoadImplementation(plan.source, context);
  if (!plan.mutant.empty()) implementation = MakeMutant(plan.mutant, std::move(implementation), context);
  return implementation;
}

void RunPool(const Plan& plan, Communicator& world, EventLog& events) {
  const auto start = std::chrono::steady_clock::now();
  const std::unique_ptr<Communicator> control_ranks = world.Split(0, world.rank());
  ControlPlane control(*control_ranks, kControlPatience);
  const int local_rank = LocalRank(world);
  const DataCommunicator data_kind(plan);
  HostedImplementation implementation([&] { return MakeDataCommunicator(data_kind, world, local_rank, control); },
                                      [&](Communicator& data) { return MakeImplementation(plan, data, local_rank); });

  std::vector<std::string> capabilities;
  Json description = Describe(implementation, &capabilities);
  if (!data_kind.nccl_version().empty()) description["notes"]["nccl"] = data_kind.nccl_version();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  events.Write("pool_ready", {{"seconds", seconds}, {"implementation", description}});

  Session session(implementation, control, world.rank(), world.size(), plan.device);
  if (plan.script.empty()) {
    RunTests(plan, capabilities, implementation, session, control, events);
  } else {
    RunScriptAsTest(plan, session, control, events);
  }
  events.Write("pool_finished");
}

// The pool on one rank: `run` is called with its event file, in which stands what goes wrong. Returns the exit code.
int RunRank(const Plan& plan, int rank, const Json& started, const std::function<void(EventLog& events)>& run) {
  EventLog events(EventFile(plan.pool_folder, rank), rank);
  events.Write("rank_started", started);
  try {
    run(events);
  } catch (const InputError& error) {
    events.Write("pool_failed", {{"kind", "input"}, {"message", error.what()}});
    return 2;
  } catch (const std::exception& error) {
    events.Write("pool_failed", {{"kind", "harness"}, {"message", error.what()}});
    return 3;
  }
  return 0;
}

// The controller watches the processes of its own host.
void LeaveEndNoticeElsewhere(const Plan& plan, int rank) {
  if (plan.host != HostName()) LeaveEndNotice(EventFile(plan.pool_folder, rank), rank);
}

int RunAsProcess(const Plan& plan, const MpiSession& mpi, const Json& started) {
  ReportCrashesOfProcess(EventFile(plan.pool_folder, mpi.rank()), mpi.rank());
  LeaveEndNoticeElsewhere(plan, mpi.rank());
  return RunRank(plan, mpi.rank(), started, [&](EventLog& events) {
    if (mpi.world_size() != plan.world_size) {
      throw InputError(
          fmt::format("the launcher started {} ranks, the plan needs {}", mpi.world_size(), plan.world_size));
    }
    CheckPortsAgainstInventory(AllTests(), AllPorts());
    const std::unique_ptr<Communicator> world = MakeMpiCommunicator();
    RunPool(plan, *world, events);
  });
}

// This process is all ranks of the pool.
int RunAsThreads(const Plan& plan, const MpiSession& mpi, const Json& started) {
  if (mpi.rank() > 0) return 0;  // the first process says what is wrong
  for (int rank = 0; rank < plan.world_size; ++rank) LeaveEndNoticeElsewhere(plan, rank);
  std::atomic<int> code = 0;
  RunThreadRanks(plan.world_size, [&](Communicator& world) {
    pthread_setname_np(pthread_self(), fmt::format("rank {}", world.rank()).c_str());
    ReportCrashesOfThisThread(EventFile(plan.pool_folder, world.rank()), world.rank());
    const int rank_code = RunRank(plan, world.rank(), started, [&](EventLog& events) {
      if (mpi.world_size() != 1) {
        throw InputError(
            fmt::format("the launcher started {} processes, ranks that are threads need 1", mpi.world_size()));
      }
      if (!RanksCanBeThreads(plan.source)) throw InputError(plan.label + ": its ranks cannot be threads");
      CheckPortsAgainstInventory(AllTests(), AllPorts());
      RunPool(plan, world, events);
    });
    if (rank_code != 0) code = rank_code;
  });
  return code;
}

// Loads LibTorch and the implementation's libraries, and forks the ranks. Returns in the ranks: their command line.
std::vector<std::string> BecomeWarmProcess(const char* task_file) {
  at::set_num_threads(1);
  return ForkRanks(ReadWarmTask(task_file),
                   [](const WarmTask& task) { PreloadImplementation(task.source, task.options); });
}

int Main(int argc, char** argv, bool warm) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a rank does not outlive its launcher
  testing::InitGoogleTest(&argc, argv);
  if (argc != 3 || std::string(argv[1]) != "--plan") {
    std::cerr << "usage: shardcts-rank --plan PLAN.json (started by `shardcts run` under mpiexec)\n";
    return 2;
  }
  at::set_num_threads(1);  // ranks share the machine's cores
  MpiSession mpi(&argc, &argv);
  const Plan plan = ReadPlan(argv[2]);
  RedirectOutput(RankLog(plan.pool_folder, mpi.rank()));
  const Json started = {{"pid", getpid()},
                        {"host", HostName()},
                        {"world_size", plan.rank_kind == RankKind::kThreads ? plan.world_size : mpi.world_size()},
                        {"stack_signal", AnswerStackSignal()},
                        {"start", warm ? "warm" : "cold"}};
  return plan.rank_kind == RankKind::kThreads ? RunAsThreads(plan, mpi, started) : RunAsProcess(plan, mpi, started);
}

// What libraries do at the end of a process says nothing of the tests, and CPython and LibTorch take a second for it.
[[noreturn]] void Leave(int code) {
  std::cout.flush();
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace
}  // namespace shardcts

int main(int argc, char** argv) {
  try {
    std::vector<std::string> words(argv, argv + argc);
    if (argc == 3 && words[1] == "--ranks-can-be-threads") {
      std::cout << (shardcts::RanksCanBeThreads(words[2]) ? "yes\n" : "no\n");
      return 0;
    }
    const bool warm = argc == 3 && words[1] == "--warm";
    if (warm) words = shardcts::BecomeWarmProcess(argv[2]);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    shardcts::Leave(shardcts::Main(static_cast<int>(words.size()), arguments.data(), warm));
  } catch (const std::exception& error) {
    std::cerr << "shardcts-rank: " << error.what() << "\n";
    return 3;
  }
}
