# NCCL on the emulator and on GPUs; needs the headers of NCCL.
shardcts_library(nccl_emulator MODULE
  SOURCES emulator/cuda_api.cc emulator/emulated_comm.cc emulator/fault.cc emulator/nccl_api.cc emulator/peer_sockets.cc
          emulator/reduction.cc
  PRIVATE shardcts::nccl_headers Threads::Threads)
set_target_properties(shardcts_nccl_emulator PROPERTIES PREFIX lib)
# Its own functions, even where NCCL itself is loaded.
target_link_options(shardcts_nccl_emulator PRIVATE -Wl,-Bsymbolic)

shardcts_test(nccl_communicator_test
  SOURCES nccl_communicator_test.cc
  LIBS shardcts::communicator_conformance shardcts::rank_test_main shardcts::comm_nccl shardcts::nccl_headers
  PCH aten RANKS 1 2 3 4 8 TIMEOUT 180)
target_compile_definitions(nccl_communicator_test
  PRIVATE SHARDCTS_NCCL_EMULATOR="$<TARGET_FILE:shardcts_nccl_emulator>")
add_dependencies(nccl_communicator_test shardcts_nccl_emulator)

# The same on GPUs, one for each rank: only LibTorch with CUDA has tensors for it.
add_executable(nccl_gpu_test nccl_gpu_test.cc)
target_link_libraries(nccl_gpu_test PRIVATE
  shardcts::communicator_conformance shardcts::rank_test_main shardcts::comm_nccl
  shardcts::comm_staged shardcts::comm_calls shardcts::nccl_headers shardcts_warnings)
shardcts_use_pch(nccl_gpu_test aten_test)
target_compile_definitions(nccl_gpu_test PRIVATE SHARDCTS_NCCL_EMULATOR="$<TARGET_FILE:shardcts_nccl_emulator>")
add_dependencies(nccl_gpu_test shardcts_nccl_emulator)
add_test(NAME nccl_gpu_test_on_the_emulator COMMAND nccl_gpu_test --ranks 2)
set_tests_properties(nccl_gpu_test_on_the_emulator PROPERTIES
  TIMEOUT 180 PROCESSORS 2 ENVIRONMENT SHARDCTS_NCCL_GPU_TEST=emulator)
if(SHARDCTS_TORCH_HAS_CUDA)
  foreach(ranks 1 2 4 8)
    add_test(NAME nccl_gpu_test_${ranks}_gpus COMMAND nccl_gpu_test --ranks ${ranks})
    set_tests_properties(nccl_gpu_test_${ranks}_gpus PROPERTIES
      TIMEOUT 300 LABELS gpu RESOURCE_LOCK gpu SKIP_REGULAR_EXPRESSION "skipped: ")
  endforeach()
endif()
