// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_allegro_kokkos.h"

#include "pair_mlip_kokkos_impl.h"

namespace LAMMPS_NS {

template <class DeviceType>
PairAllegroKokkos<DeviceType>::PairAllegroKokkos(LAMMPS *lmp)
    : PairMLIPKokkos<PairAllegro, DeviceType>(lmp) {}

template <class DeviceType>
void PairAllegroKokkos<DeviceType>::build_graph_on_device(const NeighbourhoodKokkos<DeviceType> &near) {
  auto &graph = this->kk_;
  graph.set_centres(near);
  // Ghosts in the skin of the neighbor list, or with a type this style does not handle, never reach the
  // model.
  graph.add_reached(near, 1);
  graph.add_edges(near, this->in_buckets_);
  graph.fill_atoms(near, this->kk_model_type_, 0);
  graph.fill_padding(this->model_->metadata().r_max);
}

template class PairAllegroKokkos<LMPDeviceType>;
#ifdef LMP_KOKKOS_GPU
template class PairAllegroKokkos<LMPHostType>;
#endif

} // namespace LAMMPS_NS
