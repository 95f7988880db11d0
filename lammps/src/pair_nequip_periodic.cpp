// SPDX-License-Identifier: GPL-2.0-or-later
//
// One rank: the periodic graph.

#include "pair_nequip.h"

#include "atom.h"
#include "domain.h"
#include "error.h"
#include "neighbor.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

void PairNequIP::build_periodic_graph() {
  add_centres();
  set_cell();
  // Ghosts and the order of atoms stay the same until the neighbor list is built anew; only positions move.
  if (neighbor->ago == 0 || image_of_.size() != static_cast<std::size_t>(atom->nghost)) images_known_ = false;
  if (!images_known_) find_images();
  const double home[3] = {0.0, 0.0, 0.0};
  const int nlocal = atom->nlocal;
  for_each_edge([&](std::int64_t centre, int j) {
    const auto g = static_cast<std::size_t>(j - nlocal);
    const auto neighbour = j < nlocal ? graph_index_[static_cast<std::size_t>(j)] : image_of_[g];
    if (neighbour < 0) return;
    graph_.add_edge(centre, neighbour, j < nlocal ? home : shift_.data() + 3 * g);
  });
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
    double *shift = shift_.data() + 3 * static_cast<std::size_t>(g);
    shift[0] = std::round(h_inv[0] * d[0] + h_inv[5] * d[1] + h_inv[4] * d[2]);
    shift[1] = std::round(h_inv[1] * d[1] + h_inv[3] * d[2]);
    shift[2] = std::round(h_inv[2] * d[2]);
    // -1 where the owner is not in the neighbor list, as under pair style hybrid.
    image_of_[static_cast<std::size_t>(g)] = graph_index_[static_cast<std::size_t>(owner)];
  }
  images_known_ = true;
}
