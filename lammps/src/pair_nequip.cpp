// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_nequip.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "neigh_list.h"
#include "utils.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

PairNequIP::PairNequIP(LAMMPS *lmp)
    : PairMLIP(lmp, {"pair_nequip",
                     {"pos", "edge_index", "atom_types", "cell", "edge_cell_shift"},
                     {"atomic_energy", "forces", "virial"}}) {}

void PairNequIP::check_simulation() {
  if (comm->nprocs > 1)
    error->all(
        FLERR,
        "{} runs on one MPI rank, not on {}: its models pass messages between atoms of different ranks. "
        "Start one rank with OMP_NUM_THREADS={} and a model compiled with nequip-compile --threads {}, or "
        "use "
        "an Allegro model",
        style(), comm->nprocs, comm->nprocs, comm->nprocs);
  if (!atom->tag_enable)
    error->all(FLERR,
               "{} needs atom IDs to know which atom a ghost is an image of: remove 'atom_modify id no'",
               style());
}

void PairNequIP::set_cell() {
  const double cell[9] = {domain->xprd, 0.0,        0.0,        domain->xy,  domain->yprd,
                          0.0,          domain->xz, domain->yz, domain->zprd};
  std::copy(cell, cell + 9, graph_.cell);
}

void PairNequIP::find_images() {
  const int nlocal = atom->nlocal, nghost = atom->nghost;
  local_by_tag_.clear();
  for (int i = 0; i < nlocal; ++i) local_by_tag_.emplace_back(atom->tag[i], i);
  std::sort(local_by_tag_.begin(), local_by_tag_.end());

  image_of_.resize(static_cast<std::size_t>(nghost));
  shift_.resize(3 * static_cast<std::size_t>(nghost));
  const double *const h_inv = domain->h_inv; // Voigt order: xx yy zz yz xz xy
  for (int g = 0; g < nghost; ++g) {
    const int j = nlocal + g;
    const auto found =
        std::lower_bound(local_by_tag_.begin(), local_by_tag_.end(), std::make_pair(atom->tag[j], 0));
    if (found == local_by_tag_.end() || found->first != atom->tag[j])
      error->one(FLERR, "{}: ghost atom with ID {} has no owner on this rank; atom IDs must be unique",
                 style(), atom->tag[j]);
    const int owner = found->second;
    const double *xj = atom->x[j], *xi = atom->x[owner];
    const double d[3] = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
    double *shift = shift_.data() + 3 * g;
    shift[0] = std::round(h_inv[0] * d[0] + h_inv[5] * d[1] + h_inv[4] * d[2]);
    shift[1] = std::round(h_inv[1] * d[1] + h_inv[3] * d[2]);
    shift[2] = std::round(h_inv[2] * d[2]);
    // -1 where the owner is not in the neighbor list, as under pair style hybrid.
    image_of_[static_cast<std::size_t>(g)] = graph_index_[static_cast<std::size_t>(owner)];
  }
}

void PairNequIP::build_graph() {
  add_centres();
  set_cell();
  find_images();
  const double home[3] = {0.0, 0.0, 0.0};
  const int nlocal = atom->nlocal;
  for_each_edge([&](std::int64_t centre, int j) {
    const auto g = static_cast<std::size_t>(j - nlocal);
    const auto neighbour = j < nlocal ? graph_index_[static_cast<std::size_t>(j)] : image_of_[g];
    if (neighbour < 0) return;
    graph_.add_edge(centre, neighbour, j < nlocal ? home : shift_.data() + 3 * g);
  });
}

void PairNequIP::print_edges() const {
  utils::logmesg(lmp, "NEQUIP edges: i j xi[:] xj[:] cell_shift[:] rij\n");
  const double *const cell = graph_.cell;
  for (std::int64_t e = 0; e < graph_.num_edges(); ++e) {
    const auto i = graph_.centre(e), j = graph_.neighbour(e);
    const double *xi = graph_.position(i), *xj = graph_.position(j), *s = graph_.shift(e);
    double r[3];
    for (int d = 0; d < 3; ++d)
      r[d] = xj[d] - xi[d] + s[0] * cell[d] + s[1] * cell[3 + d] + s[2] * cell[6 + d];
    utils::logmesg(lmp, "{} {} {:.10g} {:.10g} {:.10g} {:.10g} {:.10g} {:.10g} {} {} {} {:.10g}\n",
                   atom->tag[atom_of_[static_cast<std::size_t>(i)]] - 1,
                   atom->tag[atom_of_[static_cast<std::size_t>(j)]] - 1, xi[0], xi[1], xi[2], xj[0], xj[1],
                   xj[2], s[0], s[1], s[2], std::hypot(r[0], r[1], r[2]));
  }
  utils::logmesg(lmp, "end NEQUIP edges\n");
}
