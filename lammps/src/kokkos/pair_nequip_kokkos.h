// SPDX-License-Identifier: GPL-2.0-or-later
//
// pair style nequip with Kokkos. The exchanges between ranks, and the choice among them, are those of the
// style without (pair_nequip.h); features and derivatives travel from one GPU's memory to the other's where
// MPI can do that.

#ifdef PAIR_CLASS
// clang-format off
PairStyle(nequip/kk,PairNequIPKokkos<LMPDeviceType>);
PairStyle(nequip/kk/device,PairNequIPKokkos<LMPDeviceType>);
PairStyle(nequip/kk/host,PairNequIPKokkos<LMPHostType>);
// clang-format on
#else

#ifndef MLIP_PAIR_NEQUIP_KOKKOS_H
#define MLIP_PAIR_NEQUIP_KOKKOS_H

#include "pair_mlip_kokkos.h"
#include "pair_nequip.h"

namespace LAMMPS_NS {

template <class DeviceType>
class PairNequIPKokkos : public PairMLIPKokkos<PairNequIP, DeviceType> {
 public:
  explicit PairNequIPKokkos(class LAMMPS *lmp);

  double memory_usage() override;

 protected:
  using Base = PairMLIPKokkos<PairNequIP, DeviceType>;
  using typename Base::Exchange;

  void build_graph_on_device(const NeighbourhoodKokkos<DeviceType> &near) override;
  mlip::Prediction predict_on_device() override;
  bool needs_mutual_neighbours() const override { return this->exchange_ == Exchange::complete; }
  const double *cell() const override;

 private:
  mlip::Prediction predict_in_stages();
  const double *features_of_all(int layer, const mlip::GraphView &graph, const double *input);
  const double *adjoint_of_centres(int layer, const double *adjoint);

  double cell_[9] = {0.0};

  // staged; by graph atom
  std::vector<mlip::DeviceArray<double, DeviceType>> features_; // after each layer but the last
  mlip::DeviceArray<double, DeviceType> adjoint_;
  mlip::DeviceArray<double, DeviceType> edge_forces_;
};

} // namespace LAMMPS_NS

#endif
#endif
