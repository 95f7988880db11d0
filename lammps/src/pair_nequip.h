// SPDX-License-Identifier: GPL-2.0-or-later
//
// pair style nequip: models that pass messages. An atom's energy depends on neighbours of neighbours, so that
// one rank holds the whole system as a periodic graph: an edge to a ghost becomes an edge to the atom it is
// an image of, with the lattice vectors between the two.

#ifdef PAIR_CLASS
// clang-format off
PairStyle(nequip,PairNequIP);
// clang-format on
#else

#pragma once

#include "pair_mlip.h"

#include <utility>

namespace LAMMPS_NS {

class PairNequIP : public PairMLIP {
 public:
  explicit PairNequIP(class LAMMPS *lmp);

 protected:
  void check_simulation() override;
  void build_graph() override;
  void print_edges() const override;

 private:
  void set_cell();
  void find_images();

  std::vector<std::pair<tagint, int>> local_by_tag_; // sorted; atom IDs may have gaps, and may be huge
  std::vector<std::int64_t> image_of_; // index in the graph of the atom each ghost is an image of
  std::vector<double> shift_;          // lattice vectors from that atom to the ghost
};

} // namespace LAMMPS_NS

#endif
