// SPDX-License-Identifier: GPL-2.0-or-later
//
// The loop over the neighbor list; a template, so that what a style does with an edge is inlined.

#pragma once

#include "atom.h"
#include "neigh_list.h"

namespace LAMMPS_NS {

template <class Add>
void PairMLIP::for_each_edge(Add add) const {
  const double *const *const x = atom->x;
  const int *const type = atom->type;
  const auto ntypes = static_cast<std::size_t>(atom->ntypes) + 1;

  for (int ii = 0; ii < list->inum; ++ii) {
    const int i = list->ilist[ii];
    const double *const cutsq = cutsq_.data() + static_cast<std::size_t>(type[i]) * ntypes;
    const int *const neighbours = list->firstneigh[i];
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = neighbours[jj] & NEIGHMASK;
      const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
      if (dx * dx + dy * dy + dz * dz <= cutsq[type[j]]) add(ii, j);
    }
  }
}

} // namespace LAMMPS_NS
