# SPDX-License-Identifier: MIT
#
# The one list of our sources, for the plugin and for a LAMMPS with the styles in it: a new file needs no line here.
#
#   src/model/    what runs a model: torch, no LAMMPS
#   src/          what LAMMPS sees: no torch
#   src/kokkos/   the same for LAMMPS' KOKKOS package
#   src/*_plugin.cpp  the plugin's own, not for a LAMMPS with the styles in it

get_filename_component(MLIP_SOURCE_DIR "${CMAKE_CURRENT_LIST_DIR}/../src" ABSOLUTE)
file(GLOB MLIP_MODEL_SOURCES CONFIGURE_DEPENDS "${MLIP_SOURCE_DIR}/model/*.cpp")
file(GLOB MLIP_STYLE_SOURCES CONFIGURE_DEPENDS "${MLIP_SOURCE_DIR}/*.cpp")
file(GLOB MLIP_STYLE_HEADERS CONFIGURE_DEPENDS "${MLIP_SOURCE_DIR}/*.h")
file(GLOB MLIP_KOKKOS_SOURCES CONFIGURE_DEPENDS "${MLIP_SOURCE_DIR}/kokkos/*.cpp")
file(GLOB MLIP_KOKKOS_HEADERS CONFIGURE_DEPENDS "${MLIP_SOURCE_DIR}/kokkos/*.h")
set(MLIP_PLUGIN_SOURCES ${MLIP_STYLE_SOURCES})
list(FILTER MLIP_PLUGIN_SOURCES INCLUDE REGEX "_plugin\\.cpp$")
list(FILTER MLIP_STYLE_SOURCES EXCLUDE REGEX "_plugin\\.cpp$")

# With MLIP_TORCH_ROOT, the folder of the Python package torch, its headers and libraries are taken as they are. torch's
# own CMake package looks for a whole CUDA or ROCm toolkit, of which our sources need nothing.
set(MLIP_TORCH_ROOT "" CACHE PATH "the folder of the Python package torch, instead of its CMake package")
if(MLIP_TORCH_ROOT)
  set(TORCH_INSTALL_PREFIX "${MLIP_TORCH_ROOT}")
  set(TORCH_INCLUDE_DIRS "${MLIP_TORCH_ROOT}/include" "${MLIP_TORCH_ROOT}/include/torch/csrc/api/include")
  set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=1") # all of torch's builds since 2.7
  set(TORCH_LIBRARIES "")
  foreach(library IN ITEMS torch torch_cpu c10 torch_cuda c10_cuda torch_hip c10_hip)
    if(EXISTS "${MLIP_TORCH_ROOT}/lib/lib${library}.so")
      list(APPEND TORCH_LIBRARIES "${MLIP_TORCH_ROOT}/lib/lib${library}.so")
    endif()
  endforeach()
  if(NOT TORCH_LIBRARIES)
    message(FATAL_ERROR "there is no torch in MLIP_TORCH_ROOT, ${MLIP_TORCH_ROOT}: name the folder that has lib/libtorch.so")
  endif()
else()
  # It asks for MKL's headers, which its own headers never include; any folder satisfies it.
  if(NOT MKL_INCLUDE_DIR)
    set(MKL_INCLUDE_DIR "${CMAKE_CURRENT_BINARY_DIR}" CACHE PATH "unused by our sources")
  endif()
  find_package(Torch REQUIRED CONFIG)
endif()

# The library target `name` of object files that run a model. Its users link ${TORCH_LIBRARIES}.
function(mlip_add_model name)
  add_library(${name} OBJECT ${MLIP_MODEL_SOURCES})
  set_target_properties(${name} PROPERTIES
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${name} SYSTEM PRIVATE ${TORCH_INCLUDE_DIRS})
  separate_arguments(torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
  target_compile_options(${name} PRIVATE ${torch_flags})
endfunction()
