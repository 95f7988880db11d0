// SPDX-License-Identifier: GPL-2.0-or-later
//
// pair style allegro with Kokkos: the graph is made and the results are summed where Kokkos computes.

#ifdef PAIR_CLASS
// clang-format off
PairStyle(allegro/kk,PairAllegroKokkos<LMPDeviceType>);
PairStyle(allegro/kk/device,PairAllegroKokkos<LMPDeviceType>);
PairStyle(allegro/kk/host,PairAllegroKokkos<LMPHostType>);
// clang-format on
#else

#ifndef MLIP_PAIR_ALLEGRO_KOKKOS_H
#define MLIP_PAIR_ALLEGRO_KOKKOS_H

#include "pair_allegro.h"
#include "pair_mlip_kokkos.h"

namespace LAMMPS_NS {

template <class DeviceType>
class PairAllegroKokkos : public PairMLIPKokkos<PairAllegro, DeviceType> {
 public:
  explicit PairAllegroKokkos(class LAMMPS *lmp);

 protected:
  void build_graph_on_device(const NeighbourhoodKokkos<DeviceType> &near) override;
};

} // namespace LAMMPS_NS

#endif
#endif
