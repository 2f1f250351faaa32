# `cmake --install BUILD --prefix PREFIX`: what is needed to run the suites, and the package to build implementations
# with (`find_package(ShardCTS)`: shardcts::contract, shardcts::comm, shardcts::models). LibTorch and Python stay where
# they were at build time.
#
#   bin/                 shardcts, shardcts-rank
#   lib/shardcts/        the contract's library, the fault layer, the implementations that are shipped
#   include/shardcts/    headers: contract/, comm/communicator.h, models/
#   lib/cmake/ShardCTS/  the CMake package
#   share/shardcts/      files that programs read at run time (harness/run_files/program_folder.h)
#
# The target `installed` builds all of it and nothing else. pip installs the same tree as a folder of site-packages,
# beside the folder of PyTorch.
include(CMakePackageConfigHelpers)

add_custom_target(installed DEPENDS shardcts shardcts-rank shardcts_reference shardcts_python shardcts_hostdev
                                    shardcts_hostdev_device shardcts_local_backend shardcts_faults shardcts_contract
                                    shardcts_comm shardcts_models shardcts_fmt)

set(library_folder lib/shardcts)
set(header_folder include/shardcts)
set(package_folder lib/cmake/ShardCTS)
set(data_folder share/shardcts)

# shardcts_install_rpath(FOLDER TARGETS…): FOLDER is where they are installed, in the prefix. Libraries are looked for in
# ours, in LibTorch's (pip may move both together), and in those of Python and MPI where these are not the system's.
function(shardcts_install_rpath folder)
  file(RELATIVE_PATH to_prefix "/prefix/${folder}" "/prefix")
  set(rpath "$ORIGIN/${to_prefix}${library_folder}")
  if(SKBUILD)
    list(APPEND rpath "$ORIGIN/${to_prefix}../torch/lib")
  endif()
  list(APPEND rpath "${SHARDCTS_TORCH_ROOT}/lib")
  set_target_properties(${ARGN} PROPERTIES INSTALL_RPATH "${rpath}" INSTALL_RPATH_USE_LINK_PATH ON)
endfunction()

shardcts_install_rpath(bin shardcts shardcts-rank)
shardcts_install_rpath(${library_folder} shardcts_contract shardcts_faults shardcts_reference shardcts_python
                       shardcts_hostdev_device)
install(TARGETS shardcts shardcts-rank RUNTIME DESTINATION bin)
install(TARGETS shardcts_faults shardcts_reference shardcts_python shardcts_hostdev_device
        LIBRARY DESTINATION ${library_folder})

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
shardcts_install_rpath(${data_folder}/python/shardcts_hostdev shardcts_hostdev)
shardcts_install_rpath(${data_folder}/python/shardcts_local shardcts_local_backend)
install(TARGETS shardcts_local_backend LIBRARY DESTINATION ${data_folder}/python/shardcts_local)
install(DIRECTORY harness/adapters/local_backend/shardcts_local DESTINATION ${data_folder}/python ${python_sources})
install(TARGETS shardcts_hostdev LIBRARY DESTINATION ${data_folder}/python/shardcts_hostdev)
install(DIRECTORY harness/devices/hostdev/shardcts_hostdev DESTINATION ${data_folder}/python ${python_sources})
install(DIRECTORY harness/adapters/new_adapter DESTINATION ${data_folder} PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY reports/schema reports/shardcts_reports DESTINATION ${data_folder}/reports
        PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY reports/verify/shardcts_verify DESTINATION ${data_folder}/reports/verify ${python_sources})
install(DIRECTORY conformance DESTINATION ${data_folder} FILES_MATCHING PATTERN "*.toml" PATTERN "*.json")
install(DIRECTORY harness/fuzz/shardcts_fuzz DESTINATION ${data_folder}/fuzz ${python_sources})
install(FILES docs/rules.md docs/fuzz_deviations.toml DESTINATION ${data_folder}/docs)
install(FILES harness/contract/operations.json DESTINATION ${data_folder}/contract)
# The header that the contract's headers include, where none is installed.
if("nlohmann_json" IN_LIST SHARDCTS_FETCHED)
  install(DIRECTORY "${SHARDCTS_JSON_FOLDER}/nlohmann" DESTINATION ${header_folder}/third_party)
endif()
install(CODE "execute_process(COMMAND git -c safe.directory=* -C \"${CMAKE_SOURCE_DIR}\" describe --always --abbrev=40 --exclude=* --dirty
                              OUTPUT_FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${data_folder}/commit\" ERROR_QUIET)")
