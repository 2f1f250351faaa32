# `cmake --install BUILD --prefix PREFIX`: what is needed to run the suites, and the package to build implementations
# with (`find_package(ShardCTS)`: shardcts::contract, shardcts::comm, shardcts::models). LibTorch and Python stay where
# they were at build time.
#
#   bin/                 shardcts, shardcts-rank
#   lib/shardcts/        the contract's library, the implementations that are shipped
#   include/shardcts/    headers: contract/, comm/communicator.h, models/
#   lib/cmake/ShardCTS/  the CMake package
#   share/shardcts/      files that programs read at run time (harness/run_files/program_folder.h)
include(CMakePackageConfigHelpers)

set(library_folder lib/shardcts)
set(header_folder include/shardcts)
set(package_folder lib/cmake/ShardCTS)
set(data_folder share/shardcts)

set_target_properties(shardcts shardcts-rank PROPERTIES
  INSTALL_RPATH "$ORIGIN/../${library_folder};${SHARDCTS_TORCH_ROOT}/lib")
set_target_properties(shardcts_contract shardcts_reference shardcts_python shardcts_hostdev_device PROPERTIES
  INSTALL_RPATH "$ORIGIN;${SHARDCTS_TORCH_ROOT}/lib")
install(TARGETS shardcts shardcts-rank RUNTIME DESTINATION bin)
install(TARGETS shardcts_reference shardcts_python shardcts_hostdev_device LIBRARY DESTINATION ${library_folder})

foreach(name contract comm models fmt)
  set_target_properties(shardcts_${name} PROPERTIES EXPORT_NAME ${name})
endforeach()
install(TARGETS shardcts_contract shardcts_comm shardcts_models shardcts_fmt EXPORT ShardCTS
        LIBRARY DESTINATION ${library_folder} ARCHIVE DESTINATION ${library_folder}
        INCLUDES DESTINATION ${header_folder})
install(EXPORT ShardCTS NAMESPACE shardcts:: DESTINATION ${package_folder} FILE ShardCTSTargets.cmake)
configure_package_config_file(cmake/ShardCTSConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/ShardCTSConfig.cmake"
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/ShardCTSConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/ShardCTSConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/ShardCTSConfigVersion.cmake"
              cmake/ShardctsLibTorch.cmake DESTINATION ${package_folder})

install(DIRECTORY harness/contract DESTINATION ${header_folder} FILES_MATCHING PATTERN "*.h")
install(FILES harness/comm/communicator.h DESTINATION ${header_folder}/comm)
install(DIRECTORY fixtures/models DESTINATION ${header_folder}
        FILES_MATCHING PATTERN "*.h" PATTERN "python" EXCLUDE)

set(python_sources FILES_MATCHING PATTERN "*.py" PATTERN "*.txt" PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY harness/adapters/python/shardcts fixtures/models/python/shardcts_models
        DESTINATION ${data_folder}/python ${python_sources})
set_target_properties(shardcts_hostdev PROPERTIES
  INSTALL_RPATH "$ORIGIN/../../../../${library_folder};${SHARDCTS_TORCH_ROOT}/lib")
set_target_properties(shardcts_local_backend PROPERTIES INSTALL_RPATH "${SHARDCTS_TORCH_ROOT}/lib")
install(TARGETS shardcts_local_backend LIBRARY DESTINATION ${data_folder}/python/shardcts_local)
install(DIRECTORY harness/adapters/local_backend/shardcts_local DESTINATION ${data_folder}/python ${python_sources})
install(TARGETS shardcts_hostdev LIBRARY DESTINATION ${data_folder}/python/shardcts_hostdev)
install(DIRECTORY harness/devices/hostdev/shardcts_hostdev DESTINATION ${data_folder}/python ${python_sources})
install(DIRECTORY harness/adapters/new_adapter DESTINATION ${data_folder} PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY reports/schema reports/shardcts_reports DESTINATION ${data_folder}/reports
        PATTERN "__pycache__" EXCLUDE)
install(CODE "execute_process(COMMAND git -C \"${CMAKE_SOURCE_DIR}\" describe --always --abbrev=40 --exclude=* --dirty
                              OUTPUT_FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${data_folder}/commit\" ERROR_QUIET)")
