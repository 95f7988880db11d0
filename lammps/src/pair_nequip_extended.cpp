// SPDX-License-Identifier: GPL-2.0-or-later
//
// Several ranks: a rank's own atoms and the ghosts their energies depend on.

#include "pair_nequip.h"

#include "atom.h"

using namespace LAMMPS_NS;

void PairNequIP::build_extended_graph(int hops) {
  add_centres();
  // Breadth first from the rank's own atoms. Atoms enter the graph in this order, so that one pass over it
  // meets the centres in ascending order, as the model wants its edges. Those of the last shell give their
  // type only and have no edges.
  std::int64_t begin = 0;
  for (int hop = 0; hop < hops; ++hop) {
    const auto end = graph_.num_atoms();
    for (auto centre = begin; centre < end; ++centre)
      add_shell(atom_of_[static_cast<std::size_t>(centre)], centre);
    begin = end;
  }
}

void PairNequIP::add_shell(int i, std::int64_t centre) {
  const bool complete = exchange_ == Exchange::complete;
  const bool marked = model_->metadata().has_ghost_types;
  for_each_neighbour(i, [&](int j) {
    const auto known = graph_index_[static_cast<std::size_t>(j)];
    graph_.add_edge(centre, known >= 0 ? known : add_atom(j, !marked));
  });
  if (!complete) return;
  // Where cutoffs depend on the order of the types, an atom may have i as a neighbour without being one of i.
  // Forces on i are complete only with it.
  const double *const *const x = atom->x;
  const int *const neighbours = list->firstneigh[i];
  for (int jj = 0; jj < list->numneigh[i]; ++jj) {
    const int j = neighbours[jj] & NEIGHMASK;
    if (graph_index_[static_cast<std::size_t>(j)] >= 0) continue;
    const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
    if (dx * dx + dy * dy + dz * dz <= cutsq[atom->type[i]][atom->type[j]] &&
        model_type_[static_cast<std::size_t>(atom->type[j])] >= 0)
      add_atom(j);
  }
}
