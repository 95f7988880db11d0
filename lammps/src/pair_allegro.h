// SPDX-License-Identifier: GPL-2.0-or-later
//
// pair style allegro: strictly local models. An atom's energy depends on its own neighbours only, so that
// each rank evaluates its atoms with the ghosts as they are, and LAMMPS sends the forces on ghosts home.

#ifdef PAIR_CLASS
// clang-format off
PairStyle(allegro,PairAllegro);
// clang-format on
#else

#pragma once

#include "pair_mlip.h"

namespace LAMMPS_NS {

class PairAllegro : public PairMLIP {
 public:
  explicit PairAllegro(class LAMMPS *lmp);

 protected:
  void check_simulation() override;
  void build_graph() override;
  void print_edges() const override;
};

} // namespace LAMMPS_NS

#endif
