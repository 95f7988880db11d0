// SPDX-License-Identifier: GPL-2.0-or-later
//
// The loops over neighbours and edges; templates, so that what a style does with an edge is inlined.

#pragma once

#include "atom.h"
#include "error.h"
#include "neigh_list.h"

namespace LAMMPS_NS {

template <class Add>
void PairMLIP::for_each_neighbour(int i, Add add) const {
  const double *const *const x = atom->x;
  const int *const type = atom->type;
  const auto ntypes = static_cast<std::size_t>(atom->ntypes) + 1;
  const double *const within = cutsq_.data() + static_cast<std::size_t>(type[i]) * ntypes;
  const int *const neighbours = list->firstneigh[i];
  const int count = list->numneigh[i];
  for (int jj = 0; jj < count; ++jj) {
    const int j = neighbours[jj] & NEIGHMASK;
    const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
    if (dx * dx + dy * dy + dz * dz <= within[type[j]]) add(j);
  }
}

template <class Add>
void PairMLIP::for_each_edge(Add add) const {
  for (int ii = 0; ii < list->inum; ++ii) for_each_neighbour(list->ilist[ii], [&](int j) { add(ii, j); });
}

template <class Evaluate>
void PairMLIP::guarded(Evaluate evaluate) const {
  try {
    evaluate();
  } catch (const mlip::ModelError &failure) {
    error->one(FLERR, failure.what());
  }
}

} // namespace LAMMPS_NS
