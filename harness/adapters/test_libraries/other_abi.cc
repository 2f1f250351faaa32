// A library built against another contract.
extern "C" __attribute__((visibility("default"))) const char* shardcts_contract_abi() {
  return "shardcts-contract-0 of old";
}
extern "C" __attribute__((visibility("default"))) void* shardcts_create(const void*) { return nullptr; }
