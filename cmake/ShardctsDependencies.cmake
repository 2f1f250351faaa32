# All dependencies of the build as imported targets; ci/setup.sh installs them.

# ccache, if installed.
find_program(SHARDCTS_CCACHE ccache)
if(SHARDCTS_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${SHARDCTS_CCACHE})
endif()

# Python: the virtual environment that ci/setup.sh makes, or the one into which pip installs; it carries PyTorch and with
# it LibTorch.
set(default_python "${CMAKE_SOURCE_DIR}/.venv/bin/python")
if(SKBUILD)
  set(default_python "${Python_EXECUTABLE}")
endif()
set(SHARDCTS_PYTHON "${default_python}" CACHE FILEPATH "Python with PyTorch and the report packages")
set(Python_EXECUTABLE "${SHARDCTS_PYTHON}")
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Embed Development.Module)
execute_process(COMMAND "${SHARDCTS_PYTHON}" -I -c "import importlib.util as u; s = u.find_spec('torch')
print(s.submodule_search_locations[0] if s else '')"
                OUTPUT_VARIABLE SHARDCTS_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT SHARDCTS_TORCH_ROOT)
  message(FATAL_ERROR "${SHARDCTS_PYTHON} has no PyTorch: install it first (docs/versions.md)")
endif()
include(ShardctsLibTorch)
shardcts_import_libtorch("${SHARDCTS_TORCH_ROOT}" SHARDCTS_TORCH_ERROR)
if(SHARDCTS_TORCH_ERROR)
  message(FATAL_ERROR "${SHARDCTS_TORCH_ERROR}")
endif()
option(SHARDCTS_CUDA "LibTorch must be a CUDA build (preset cuda)" OFF)
if(SHARDCTS_CUDA AND NOT SHARDCTS_TORCH_HAS_CUDA)
  message(FATAL_ERROR "${SHARDCTS_PYTHON} has no CUDA build of PyTorch: set SHARDCTS_TORCH and run ci/setup.sh (CONTRIBUTING.md)")
endif()
find_library(SHARDCTS_TORCH_PYTHON torch_python PATHS "${SHARDCTS_TORCH_ROOT}/lib" NO_DEFAULT_PATH REQUIRED)

# {fmt} as bundled with LibTorch: its headers hide any other version.
add_library(shardcts_fmt STATIC cmake/fmt.cc)
add_library(shardcts::fmt ALIAS shardcts_fmt)
target_link_libraries(shardcts_fmt PUBLIC shardcts::libtorch)

# Headers of NCCL and of the CUDA runtime; the libraries are loaded at run time, where there are any. Without the headers
# there is no comm=nccl.
cmake_path(GET SHARDCTS_TORCH_ROOT PARENT_PATH site_packages)
find_path(SHARDCTS_NCCL_INCLUDE nccl.h HINTS "${site_packages}/nvidia/nccl/include")
find_path(SHARDCTS_CUDART_INCLUDE cuda_runtime.h HINTS "${site_packages}/nvidia/cu13/include")
set(SHARDCTS_HAS_NCCL OFF)
if(SHARDCTS_NCCL_INCLUDE AND EXISTS "${SHARDCTS_CUDART_INCLUDE}/crt/host_defines.h"
   AND EXISTS "${SHARDCTS_CUDART_INCLUDE}/nv/target")
  set(SHARDCTS_HAS_NCCL ON)
  add_library(shardcts_nccl_headers INTERFACE)
  add_library(shardcts::nccl_headers ALIAS shardcts_nccl_headers)
  target_include_directories(shardcts_nccl_headers SYSTEM INTERFACE
    "$<BUILD_INTERFACE:${SHARDCTS_NCCL_INCLUDE}>" "$<BUILD_INTERFACE:${SHARDCTS_CUDART_INCLUDE}>")
else()
  message(STATUS "NCCL: no nccl.h with the headers of the CUDA runtime: built without comm=nccl")
endif()

# Without MPI there is no comm=mpi, and no launcher for the reference.
set(SHARDCTS_MPI auto CACHE STRING "auto: where it is installed; on: required; off: without")
set_property(CACHE SHARDCTS_MPI PROPERTY STRINGS auto on off)
if(SHARDCTS_MPI STREQUAL "auto")
  find_package(MPI COMPONENTS C QUIET)
elseif(SHARDCTS_MPI)
  find_package(MPI REQUIRED COMPONENTS C)
endif()
if(NOT MPI_C_FOUND)
  message(STATUS "MPI: none: built without comm=mpi")
endif()

find_package(Threads REQUIRED)
find_package(benchmark QUIET)
include(ShardctsThirdParty)
