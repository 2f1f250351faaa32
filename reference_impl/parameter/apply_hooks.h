// What a wrapper does when every tensor of a module tree is replaced (a move to another device or dtype).
#pragma once

namespace shardcts::reference {

// Implemented by modules that own the storage of parameters of modules below them. Both functions are *Local*.
class ApplyHooks {
 public:
  virtual ~ApplyHooks() = default;
  // Called before the tensors below are replaced: lists each storage once, as a parameter.
  virtual void BeforeApply() = 0;
  // Called after it: adopts the tensors that these parameters now have.
  virtual void AfterApply() = 0;
};

}  // namespace shardcts::reference
