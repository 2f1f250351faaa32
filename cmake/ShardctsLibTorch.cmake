# LibTorch as the target shardcts::libtorch, for the source tree and for the installed package. It needs no CUDA toolkit:
# LibTorch's own CMake package asks for one where LibTorch is a CUDA build, even if nothing is compiled for a GPU.
#
# shardcts_import_libtorch(ROOT ERROR): ROOT is the folder of the Python package torch. ERROR becomes what is wrong with
# it, or empty. Sets in the caller's scope SHARDCTS_TORCH_VERSION (2.13.0) and SHARDCTS_TORCH_HAS_CUDA.
# The target has a name of its own, so that find_package(Torch) can be used beside it.
function(shardcts_import_libtorch root error)
  set(${error} "" PARENT_SCOPE)
  set(version_header include/torch/headeronly/version.h)
  set(own_targets share/cmake/Caffe2/Caffe2Targets.cmake)
  foreach(file ${version_header} ${own_targets} lib/libtorch.so lib/libtorch_cpu.so lib/libc10.so)
    if(NOT EXISTS "${root}/${file}")
      set(${error} "${root}: not a PyTorch that ShardCTS can be built with (docs/versions.md): no ${file}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  file(STRINGS "${root}/${version_header}" version REGEX "^ *\"[0-9.]+\"")
  string(REGEX REPLACE "[ \"]" "" version "${version}")
  if(version VERSION_LESS 2.11)
    set(${error} "${root}: PyTorch ${version}: ShardCTS needs 2.11 or newer (docs/versions.md)" PARENT_SCOPE)
    return()
  endif()

  # Structs of LibTorch's headers depend on these definitions: USE_DISTRIBUTED and others.
  file(STRINGS "${root}/${own_targets}" definitions REGEX "INTERFACE_COMPILE_DEFINITIONS \"[A-Z0-9_;]+\"")
  string(REGEX MATCHALL "USE_[A-Z0-9_]+" definitions "${definitions}")

  # Libraries that a program may call itself, and those that it must load though it calls none of their functions:
  # libtorch_cuda.so registers CUDA's kernels when it is loaded.
  set(called c10 torch_cpu)
  set(loaded torch)
  set(has_cuda OFF)
  if(EXISTS "${root}/lib/libtorch_cuda.so")
    set(has_cuda ON)
    list(APPEND called c10_cuda torch_cuda)
    list(APPEND loaded torch_cuda)
  endif()
  add_library(shardcts::libtorch INTERFACE IMPORTED GLOBAL)
  foreach(name ${called})
    add_library(shardcts::libtorch_${name} SHARED IMPORTED GLOBAL)
    set_target_properties(shardcts::libtorch_${name} PROPERTIES IMPORTED_LOCATION "${root}/lib/lib${name}.so")
    target_link_libraries(shardcts::libtorch INTERFACE shardcts::libtorch_${name})
  endforeach()
  list(TRANSFORM loaded REPLACE "(.+)" "\"${root}/lib/lib\\1.so\"")
  list(JOIN loaded "," loaded)
  target_link_libraries(shardcts::libtorch INTERFACE "-Wl,--push-state,--no-as-needed,${loaded},--pop-state")
  target_compile_definitions(shardcts::libtorch INTERFACE ${definitions})
  target_include_directories(shardcts::libtorch SYSTEM INTERFACE
    "${root}/include" "${root}/include/torch/csrc/api/include")
  set(SHARDCTS_TORCH_VERSION "${version}" PARENT_SCOPE)
  set(SHARDCTS_TORCH_HAS_CUDA ${has_cuda} PARENT_SCOPE)
endfunction()
