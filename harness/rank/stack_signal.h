// How a rank writes its stack trace when the controller asks for it (process/stacks.h). *Local*.
#pragma once

namespace shardcts {

// From now on SIGUSR2 makes this process write the stack of the thread that gets it, mostly the main thread, to
// standard error, between two lines of its own; then it goes on. A debugger of the same user may attach to it. Returns
// the signal.
int AnswerStackSignal();

}  // namespace shardcts
