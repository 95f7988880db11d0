// SPDX-License-Identifier: GPL-2.0-or-later
//
// What allegro/kk and nequip/kk have in common: a step whose arrays stay where Kokkos computes. Input lines,
// options, the model and messages are those of the style without Kokkos, `Plain`.
//
// On a GPU nothing but a few sums comes to the host. The model then runs on the GPU that Kokkos gave this
// rank.

#pragma once

#include "ghost_exchange_kokkos.h"
#include "graph_kokkos.h"
#include "results_kokkos.h"

#include "kokkos_base.h"

#include "model/model.h"

#include <vector>

namespace LAMMPS_NS {

template <class Plain, class DeviceType>
class PairMLIPKokkos : public Plain, public KokkosBase {
 public:
  typedef DeviceType device_type;
  typedef ArrayTypes<DeviceType> AT;

  explicit PairMLIPKokkos(class LAMMPS *lmp);
  ~PairMLIPKokkos() override;

  void coeff(int narg, char **arg) override;
  void init_style() override;
  void compute(int eflag, int vflag) override;
  double memory_usage() override;
  const std::vector<int> &output_atoms() const override;

  int pack_forward_comm(int n, int *list, double *buf, int pbc_flag, int *pbc) override;
  void unpack_forward_comm(int n, int first, double *buf) override;
  int pack_reverse_comm(int n, int first, double *buf) override;
  void unpack_reverse_comm(int n, int *list, double *buf) override;
  int pack_forward_comm_kokkos(int n, DAT::tdual_int_1d k_list, DAT::tdual_double_1d &k_buf, int pbc_flag,
                               int *pbc) override;
  void unpack_forward_comm_kokkos(int n, int first, DAT::tdual_double_1d &k_buf) override;
  int pack_reverse_comm_kokkos(int n, int first, DAT::tdual_double_1d &k_buf) override;
  void unpack_reverse_comm_kokkos(int n, DAT::tdual_int_1d k_list, DAT::tdual_double_1d &k_buf) override;

 protected:
  // The names of a base class that depends on a template parameter must be said once.
  using Plain::atom;
  using Plain::atom_of_;
  using Plain::atomKK;
  using Plain::comm;
  using Plain::cutsq_;
  using Plain::cvatom;
  using Plain::cvflag_atom;
  using Plain::debug_;
  using Plain::device_;
  using Plain::eatom;
  using Plain::eflag_atom;
  using Plain::eflag_global;
  using Plain::energy_unit_;
  using Plain::error;
  using Plain::evaluated_step_;
  using Plain::execution_space;
  using Plain::force;
  using Plain::graph_;
  using Plain::list;
  using Plain::lmp;
  using Plain::maxcvatom;
  using Plain::maxeatom;
  using Plain::maxvatom;
  using Plain::memoryKK;
  using Plain::model_;
  using Plain::model_type_;
  using Plain::neighbor;
  using Plain::style;
  using Plain::update;
  using Plain::vatom;
  using Plain::vflag_atom;
  using Plain::vflag_either;
  using Plain::vflag_global;
  using Plain::virial;

  using Graph = GraphKokkos<DeviceType>;
  using Neighbourhood = NeighbourhoodKokkos<DeviceType>;

  /// Whether arrays are in the memory of a GPU.
  static constexpr bool on_gpu =
      !Kokkos::SpaceAccessibility<Kokkos::HostSpace, typename DeviceType::memory_space>::accessible;

  /// Fills `kk_`, padding included. Called by all ranks, also those without atoms.
  virtual void build_graph_on_device(const Neighbourhood &near) = 0;

  /// Runs the model on `kk_`; results are where the graph is. Called by all ranks.
  virtual mlip::Prediction predict_on_device();

  /// Whether atoms that a mutual neighbour's cutoff reaches belong into the graph, not only those of an edge.
  virtual bool needs_mutual_neighbours() const { return false; }

  /// The cell of a periodic graph on the host, rows are lattice vectors; null for graphs without.
  virtual const double *cell() const { return nullptr; }

  /// Stops the run at positions that are no numbers, and waits for the graph to be complete.
  void check_graph();
  mlip::GraphView view() const;

  // The rows of `messages_`: from owners to ghosts, or summed from ghosts onto owners.
  void exchange_forward() { comm->forward_comm(this, messages_.width); }
  void exchange_reverse() { comm->reverse_comm(this, messages_.width); }

  Graph kk_;
  bool in_buckets_; // numbers of atoms and edges that take few values: code for GPUs is chosen by shape
  GhostExchangeKokkos<DeviceType> messages_;
  mlip::DeviceArray<int, DeviceType> kk_model_type_; // by LAMMPS type

 private:
  /// Loads the model, or may do so, where Kokkos computes.
  template <class Load>
  void on_device_of_kokkos(Load load);

  void copy_types();
  Neighbourhood neighbourhood() const;
  void clear_atom_arrays();
  void copy_graph_to_host();
  void tally_energies(const mlip::Prediction &result);
  void tally_forces(const mlip::Prediction &result);
  void tally_virials(const mlip::Prediction &result);
  EdgeForcesKokkos<DeviceType> edge_forces(const mlip::Prediction &result) const;

  /// Calls `add(rows)` to sum over the atoms of this rank; what it adds to ghosts reaches `rows` on their
  /// owners' ranks where LAMMPS does not see to that.
  template <class Rows, class Add>
  void add_rows(const Rows &rows, int width, Add add);

  Kokkos::View<double **, Kokkos::LayoutRight, DeviceType> kk_cutsq_, kk_reachsq_;
  DAT::ttransform_kkacc_1d k_eatom_;
  DAT::ttransform_kkacc_1d_6 k_vatom_;
  DAT::ttransform_kkacc_1d_9 k_cvatom_;
  mutable std::vector<int> output_atoms_;
};

} // namespace LAMMPS_NS
