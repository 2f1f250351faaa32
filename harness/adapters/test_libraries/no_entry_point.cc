// A shared library that has nothing to do with the contract.
extern "C" __attribute__((visibility("default"))) int unrelated() { return 1; }
