// Places in the backward pass where something is called. All functions are *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace shardcts::reference {

// `input`, passed through. When the gradient of everything computed from it is complete, `callback` runs, then the
// gradient goes on. Returns `input` itself when no gradient will flow through it.
at::Tensor CallWhenGradientPassed(at::Tensor input, std::function<void()> callback);

// `callback` runs when the gradient of `output` is known, before anything `output` was computed from. Does nothing when
// no gradient will flow.
void CallBeforeBackwardOf(const at::Tensor& output, std::function<void()> callback);

// `callback` runs once, when the backward pass that is under way in this thread has ended.
void CallAfterBackward(std::function<void()> callback);

}  // namespace shardcts::reference
