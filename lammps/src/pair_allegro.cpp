// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_allegro.h"

#include "atom.h"
#include "utils.h"

#include <cmath>

using namespace LAMMPS_NS;

PairAllegro::PairAllegro(LAMMPS *lmp)
    : PairMLIP(lmp,
               {"pair_allegro", {"pos", "edge_index", "atom_types"}, {"atomic_energy", "forces", "virial"}}) {
}

void PairAllegro::build_graph() {
  add_centres();
  // Ghosts enter when an edge first names them: those in the skin of the neighbor list, or with a type this
  // style does not handle, never reach the model.
  for_each_edge([this](std::int64_t centre, int j) {
    const auto known = graph_index_[static_cast<std::size_t>(j)];
    graph_.add_edge(centre, known >= 0 ? known : add_atom(j));
  });
}

void PairAllegro::print_edges() const {
  utils::logmesg(lmp, "Allegro edges: i j rij\n");
  for (std::int64_t e = 0; e < graph_.num_edges(); ++e) {
    const auto i = graph_.centre(e), j = graph_.neighbour(e);
    const double *xi = graph_.position(i), *xj = graph_.position(j);
    utils::logmesg(lmp, "{} {} {:.10g}\n", atom->tag[atom_of_[static_cast<std::size_t>(i)]] - 1,
                   atom->tag[atom_of_[static_cast<std::size_t>(j)]] - 1,
                   std::hypot(xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]));
  }
  utils::logmesg(lmp, "end Allegro edges\n");
}
