# SPDX-License-Identifier: MIT
#
# Builds our styles into LAMMPS; its sources stay as they are:
#
#     cmake -S lammps-4Jul2026/cmake -B build -DCMAKE_PROJECT_lammps_INCLUDE=<here>/package.cmake \
#       -DTorch_DIR=<site-packages>/torch/share/cmake/Torch [-DPKG_KOKKOS=ON ...]
#
# CMake includes this file right after project(lammps). It adds our headers to the lists from which LAMMPS writes
# style_pair.h and the like, and when LAMMPS' own file has been read, our sources and torch to its targets. Compilers and
# GPUs are those that LAMMPS and Kokkos are configured for. Needs C++20.

include("${CMAKE_CURRENT_LIST_DIR}/sources.cmake")
set(MLIP_RPATH "$ORIGIN/../lib;${TORCH_INSTALL_PREFIX}/lib" CACHE STRING "where the installed LAMMPS looks for libraries")

if(PKG_KOKKOS)
  list(APPEND MLIP_STYLE_SOURCES ${MLIP_KOKKOS_SOURCES})
  list(APPEND MLIP_STYLE_HEADERS ${MLIP_KOKKOS_HEADERS})
endif()

# LAMMPS calls the list of a style's headers as the header's guard is called, but for atom styles.
foreach(header IN LISTS MLIP_STYLE_HEADERS)
  file(STRINGS "${header}" guard LIMIT_COUNT 1 REGEX "^#ifdef [A-Z_]+_CLASS")
  if(guard)
    string(REGEX REPLACE "^#ifdef ([A-Z_]+)_CLASS.*" "\\1" kind "${guard}")
    if(kind STREQUAL "ATOM")
      set(kind ATOM_VEC)
    endif()
    file(STRINGS "${header}" once LIMIT_COUNT 1 REGEX "^#pragma once")
    if(once)
      message(FATAL_ERROR "${header} has '#pragma once': LAMMPS includes the header of a style twice, so that it needs "
        "'#ifndef ..., #define ..., #endif' behind '#else'. The style would be missing without another word.")
    endif()
    set_property(GLOBAL APPEND PROPERTY ${kind} "${header}")
  endif()
endforeach()

function(mlip_add_to_lammps)
  mlip_add_model(mlip_model)
  target_sources(lammps PRIVATE ${MLIP_STYLE_SOURCES} $<TARGET_OBJECTS:mlip_model>)
  target_include_directories(lammps PRIVATE "${MLIP_SOURCE_DIR}" "${MLIP_SOURCE_DIR}/kokkos")
  # Linked, but no torch in LAMMPS' compile commands: its object files stay as they are with another torch.
  add_library(mlip_torch INTERFACE)
  foreach(library IN LISTS TORCH_LIBRARIES)
    target_link_libraries(mlip_torch INTERFACE $<LINK_ONLY:${library}>)
  endforeach()
  target_link_libraries(lammps PRIVATE mlip_torch)
  set_property(TARGET lammps lmp APPEND PROPERTY INSTALL_RPATH "${MLIP_RPATH}")
endfunction()
cmake_language(DEFER CALL mlip_add_to_lammps)
