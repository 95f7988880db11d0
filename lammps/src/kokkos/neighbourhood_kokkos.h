// SPDX-License-Identifier: GPL-2.0-or-later
//
// A full neighbor list, positions and cutoffs as kernels take them: by value.

#pragma once

#include "neigh_list_kokkos.h"

namespace LAMMPS_NS {

template <class DeviceType>
struct NeighbourhoodKokkos {
  typedef ArrayTypes<DeviceType> AT;

  typename AT::t_neighbors_2d neighbors;
  typename AT::t_int_1d ilist;
  typename AT::t_int_1d numneigh;
  typename AT::t_kkfloat_1d_3_lr x;
  typename AT::t_int_1d type;
  /// Squares of distances by LAMMPS types of (centre, neighbour): within the first there is an edge, within
  /// the second an atom belongs into the graph. Negative where a type has no part in it.
  Kokkos::View<const double **, Kokkos::LayoutRight, DeviceType> cutsq, reachsq;
  int inum; ///< atoms in the list
  int nall; ///< atoms and ghosts of this rank

  KOKKOS_INLINE_FUNCTION
  int neighbour(int i, int jj) const { return neighbors(i, jj) & NEIGHMASK; }

  KOKKOS_INLINE_FUNCTION
  bool has_edge(int i, int j) const { return distance_sq(i, j) <= cutsq(type(i), type(j)); }

  KOKKOS_INLINE_FUNCTION
  bool reaches(int i, int j) const { return distance_sq(i, j) <= reachsq(type(i), type(j)); }

  /// In double precision whatever LAMMPS was built with: which edges exist must not depend on it.
  KOKKOS_INLINE_FUNCTION
  double distance_sq(int i, int j) const {
    const double dx = static_cast<double>(x(j, 0)) - static_cast<double>(x(i, 0));
    const double dy = static_cast<double>(x(j, 1)) - static_cast<double>(x(i, 1));
    const double dz = static_cast<double>(x(j, 2)) - static_cast<double>(x(i, 2));
    return dx * dx + dy * dy + dz * dz;
  }
};

} // namespace LAMMPS_NS
