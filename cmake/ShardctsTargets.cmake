# The few functions with which targets are declared.

add_library(shardcts_warnings INTERFACE)
target_compile_options(shardcts_warnings INTERFACE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)

# shardcts_library(NAME SOURCES… [PUBLIC libs…] [PRIVATE libs…] [SHARED|MODULE]): target shardcts_NAME, alias shardcts::NAME.
function(shardcts_library name)
  cmake_parse_arguments(arg "SHARED;MODULE" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(kind STATIC)
  if(arg_SHARED)
    set(kind SHARED)
  elseif(arg_MODULE)
    set(kind MODULE)
  endif()
  add_library(shardcts_${name} ${kind} ${arg_SOURCES})
  add_library(shardcts::${name} ALIAS shardcts_${name})
  target_include_directories(shardcts_${name} PUBLIC "$<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/harness>")
  target_link_libraries(shardcts_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:shardcts_warnings>)
endfunction()

# Precompiled headers, one object for all targets: `shardcts_use_pch(TARGET aten|autograd)`.
# aten: values and operators. autograd: the reference implementation and the models.
function(shardcts_declare_pch name)
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/pch/${name}.cc" CONTENT "// The header is what counts.\n")
  add_library(shardcts_pch_${name} OBJECT "${CMAKE_BINARY_DIR}/pch/${name}.cc")
  target_link_libraries(shardcts_pch_${name} PRIVATE shardcts::libtorch nlohmann_json::nlohmann_json fmt::fmt shardcts_warnings)
  target_precompile_headers(shardcts_pch_${name} PRIVATE ${ARGN})
endfunction()
shardcts_declare_pch(aten <ATen/ATen.h> <fmt/format.h> <nlohmann/json.hpp> <string> <vector> <map> <variant> <memory>)
shardcts_declare_pch(autograd <ATen/ATen.h> <torch/autograd.h> <fmt/format.h> <string> <vector> <map> <memory> <functional>)

function(shardcts_use_pch target name)
  target_link_libraries(${target} PRIVATE nlohmann_json::nlohmann_json fmt::fmt)
  target_precompile_headers(${target} REUSE_FROM shardcts_pch_${name})
endfunction()

# shardcts_test(NAME SOURCES… LIBS… [PCH aten|autograd] [RANKS n…] [TIMEOUT s]): a GoogleTest program run by ctest,
# with RANKS once per number under mpiexec. The target unit_tests builds them all, their label is unit.
function(shardcts_test name)
  cmake_parse_arguments(arg "" "PCH;TIMEOUT" "SOURCES;LIBS;RANKS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/harness")
  target_link_libraries(${name} PRIVATE ${arg_LIBS} shardcts_warnings)
  if(arg_PCH)
    shardcts_use_pch(${name} ${arg_PCH})
  endif()
  set_property(GLOBAL APPEND PROPERTY SHARDCTS_UNIT_TESTS ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(arg_RANKS)
    target_link_libraries(${name} PRIVATE GTest::gtest GTest::gmock)
    foreach(ranks ${arg_RANKS})
      add_test(NAME ${name}_${ranks}_ranks COMMAND ${MPIEXEC_EXECUTABLE} -n ${ranks} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}_${ranks}_ranks PROPERTIES TIMEOUT ${arg_TIMEOUT} PROCESSORS 2 LABELS unit)
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE GTest::gtest GTest::gmock GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS unit)
  endif()
endfunction()

# Called once all tests are declared.
function(shardcts_add_unit_tests_target)
  get_property(tests GLOBAL PROPERTY SHARDCTS_UNIT_TESTS)
  add_custom_target(unit_tests DEPENDS ${tests})
endfunction()
