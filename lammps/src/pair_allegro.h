// SPDX-License-Identifier: GPL-2.0-or-later
//
// pair style allegro: strictly local models. An atom's energy depends on its own neighbours only, so that
// each rank evaluates its atoms with the ghosts as they are, and the forces on ghosts are sent home.

#ifdef PAIR_CLASS
// clang-format off
PairStyle(allegro,PairAllegro);
// clang-format on
#else

#ifndef MLIP_PAIR_ALLEGRO_H
#define MLIP_PAIR_ALLEGRO_H

#include "pair_mlip.h"

namespace LAMMPS_NS {

class PairAllegro : public PairMLIP {
 public:
  explicit PairAllegro(class LAMMPS *lmp);

 protected:
  void prepare_simulation() override { request_neighbours(false); }
  void build_graph() override;
  void print_edges() const override;
  bool has_ghost_forces() const override { return true; }
  bool has_exact_heat_flux() const override { return true; }
};

} // namespace LAMMPS_NS

#endif
#endif
