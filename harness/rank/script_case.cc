#include "rank/script_case.h"

#include <chrono>
#include <memory>
#include <optional>

#include "rank/recorder.h"
#include "rank/script.h"
#include "recording/recording.h"
#include "run_files/events.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

void RunInto(RankReport& report, const Script& script, Session& session, const std::string& folder) {
  try {
    for (const std::string& failure : RunScript(script, session, folder).failures) {
      report.failures.push_back({session.rank(), "", failure, script.file, 0, ""});
    }
    report.verdict = report.failures.empty() ? RankVerdict::kPass : RankVerdict::kFail;
    if (!report.failures.empty()) report.reason = report.failures.front().message;
  } catch (const PeerStopped& stopped) {
    report.verdict = RankVerdict::kAborted, report.reason = stopped.what();
  } catch (const Diverged& diverged) {
    report.verdict = RankVerdict::kDiverged, report.reason = diverged.what();
  } catch (const HarnessError& error) {  // the script's arguments do not fit the table
    report.verdict = RankVerdict::kFail, report.reason = error.what();
  }
}

}  // namespace

void RunScriptCase(const Plan& plan, Session& session, ControlPlane& control, EventLog& events) {
  const std::optional<PlannedPhase>& phase = plan.phases.front();
  std::vector<Script> scripts = ReadScripts(ReadRecording(plan.script), plan.script);
  if ((phase ? phase->index : 0) >= scripts.size()) throw InputError("plan: the script has no such phase");
  Script& script = scripts[phase ? phase->index : 0];
  Json which = {{"test", "script"}, {"index", 0}};
  if (phase) which["phase"] = phase->index + 1;
  UseDevice(script, plan.implementation.device);
  events.Write("test_started", which);
  session.StartTest(MakeRecorder(plan, 0, script.seed, session.rank()), script.seed,
                    phase ? phase->folder : TestFiles(plan.pool_folder, "script"));
  RankReport report;
  const auto start = std::chrono::steady_clock::now();
  RunInto(report, script, session, phase ? phase->folder.string() : "");
  if (control.controller_is_gone()) throw PeerStopped(report.reason);
  if (const std::optional<std::string> problem = session.EndTest(); problem && report.verdict == RankVerdict::kPass) {
    report.verdict = RankVerdict::kFail, report.reason = "after the script: " + *problem;
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.operations = session.operations();
  Json finished = which;
  finished.update(ToJson(report));
  events.Write("test_finished", std::move(finished));
  const bool failed_early = report.verdict != RankVerdict::kPass && report.failures.empty();
  control.EndOfTest(failed_early, false);  // after the event, which must not wait for a peer that is stuck
}

}  // namespace shardcts
