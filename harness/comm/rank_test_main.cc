#include "comm/rank_test_main.h"

int main(int argc, char** argv) { return shardcts::RunRankTests(argc, argv); }
