// SPDX-License-Identifier: GPL-2.0-or-later
//
// The members of PairMLIPKokkos, for the two sources that instantiate it.

#pragma once

#include "pair_mlip_kokkos.h"

#include "atom_kokkos.h"
#include "atom_masks.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "kokkos.h"
#include "memory_kokkos.h"
#include "neigh_request.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <type_traits>

namespace LAMMPS_NS {

template <class Plain, class DeviceType>
PairMLIPKokkos<Plain, DeviceType>::PairMLIPKokkos(LAMMPS *lmp) : Plain(lmp) {
  this->kokkosable = 1;
  this->reverse_comm_device = 1;
  execution_space = ExecutionSpaceFromDevice<DeviceType>::space;
  this->datamask_read = X_MASK | F_MASK | TAG_MASK | TYPE_MASK | ENERGY_MASK | VIRIAL_MASK;
  this->datamask_modify = F_MASK | ENERGY_MASK | VIRIAL_MASK;
  in_buckets_ = on_gpu || std::getenv("MLIP_KOKKOS_PADDING");
}

template <class Plain, class DeviceType>
PairMLIPKokkos<Plain, DeviceType>::~PairMLIPKokkos() {
  if (this->copymode) return;
  memoryKK->destroy_kokkos(k_eatom_, eatom);
  memoryKK->destroy_kokkos(k_vatom_, vatom);
  memoryKK->destroy_kokkos(k_cvatom_, cvatom);
}

// Before a run ------------------------------------------------------------------------------------

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::coeff(int narg, char **arg) {
  on_device_of_kokkos([&] { Plain::coeff(narg, arg); });
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::init_style() {
  // The model may be loaded here, after a restart.
  on_device_of_kokkos([&] { Plain::init_style(); });
  copy_types();

  auto *const request = neighbor->find_request(this);
  constexpr bool device = std::is_same_v<DeviceType, LMPDeviceType>;
  request->set_kokkos_host(std::is_same_v<DeviceType, LMPHostType> && !device);
  request->set_kokkos_device(device);
}

template <class Plain, class DeviceType>
template <class Load>
void PairMLIPKokkos<Plain, DeviceType>::on_device_of_kokkos(Load load) {
  if (!on_gpu) return load();
  const auto asked = device_; // what restart files tell: the input's wish, not the place of a rank
  // Kokkos has given each rank its GPU, however the launcher shows GPUs to ranks; torch counts them alike.
  const int gpu = Kokkos::device_id();
  if (asked.kind == mlip::DeviceRequest::Kind::cpu || (asked.index >= 0 && asked.index != gpu))
    error->all(
        FLERR,
        "{}: with the suffix kk the model runs on the GPU that Kokkos gave each rank: leave the option "
        "'device' out, or use the suffix kk/host",
        style());
  device_.index = gpu;
  load();
  device_ = asked;
  if (!model_->on_gpu())
    error->all(FLERR,
               "{}: Kokkos computes on a GPU, but model file '{}' runs on the CPU: compile it with "
               "nequip-compile --device cuda, or use the suffix kk/host",
               style(), model_->metadata().file);
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::copy_types() {
  const auto types = static_cast<std::size_t>(atom->ntypes) + 1;
  kk_model_type_ = decltype(kk_model_type_)("mlip:model_type", types);
  kk_cutsq_ = decltype(kk_cutsq_)("mlip:cutsq", types, types);
  kk_reachsq_ = decltype(kk_reachsq_)("mlip:reachsq", types, types);
  const auto model_type = Kokkos::create_mirror_view(kk_model_type_);
  const auto cutsq = Kokkos::create_mirror_view(kk_cutsq_);
  const auto reachsq = Kokkos::create_mirror_view(kk_reachsq_);
  for (std::size_t i = 0; i < types; ++i) {
    model_type(i) = model_type_[i];
    for (std::size_t j = 0; j < types; ++j) {
      const double there = cutsq_[i * types + j], back = cutsq_[j * types + i];
      cutsq(i, j) = there;
      reachsq(i, j) = needs_mutual_neighbours() ? std::max(there, back) : there;
    }
  }
  Kokkos::deep_copy(kk_model_type_, model_type);
  Kokkos::deep_copy(kk_cutsq_, cutsq);
  Kokkos::deep_copy(kk_reachsq_, reachsq);
}

// A step ------------------------------------------------------------------------------------------

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::compute(int eflag, int vflag) {
  this->ev_init(eflag, vflag, 0);
  if (vflag_either) this->check_virial_request();
  clear_atom_arrays();

  atomKK->sync(execution_space, X_MASK | F_MASK | TYPE_MASK);
  build_graph_on_device(neighbourhood());
  graph_.num_centres = kk_.num_centres; // for the compute styles
  output_atoms_.clear();
  const auto result = predict_on_device();
  evaluated_step_ = update->ntimestep;

  // A rank without atoms has no results, but it passes those of others on.
  if (kk_.num_centres > 0) tally_energies(result);
  tally_forces(result);
  if (vflag_either) tally_virials(result);
  atomKK->modified(execution_space, F_MASK);
}

template <class Plain, class DeviceType>
NeighbourhoodKokkos<DeviceType> PairMLIPKokkos<Plain, DeviceType>::neighbourhood() const {
  const auto *const k_list = static_cast<NeighListKokkos<DeviceType> *>(list);
  Neighbourhood near;
  near.neighbors = k_list->d_neighbors;
  near.ilist = k_list->d_ilist;
  near.numneigh = k_list->d_numneigh;
  near.x = atomKK->k_x.template view<DeviceType>();
  near.type = atomKK->k_type.template view<DeviceType>();
  near.cutsq = kk_cutsq_;
  near.reachsq = kk_reachsq_;
  near.inum = list->inum;
  near.nall = atom->nlocal + atom->nghost;
  return near;
}

template <class Plain, class DeviceType>
mlip::GraphView PairMLIPKokkos<Plain, DeviceType>::view() const {
  mlip::GraphView view;
  view.num_atoms = kk_.padded_atoms;
  view.num_edges = kk_.padded_edges;
  view.position = kk_.position.data();
  view.type = kk_.type.data();
  view.edge_index = kk_.edge_index.data();
  view.cell = cell();
  view.edge_cell_shift = view.cell ? kk_.shift.data() : nullptr;
  view.space = on_gpu ? mlip::Space::device : mlip::Space::host;
  return view;
}

template <class Plain, class DeviceType>
mlip::Prediction PairMLIPKokkos<Plain, DeviceType>::predict_on_device() {
  mlip::Prediction result;
  if (kk_.num_centres == 0) return result;
  check_graph();
  this->guarded([&] { result = model_->evaluate(view()); });
  return result;
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::check_graph() {
  const bool bad = !all_finite(kk_.position, 3 * kk_.num_centres);
  if (bad || debug_) copy_graph_to_host();
  if (bad) this->stop_at_bad_positions();
  if (debug_ && comm->me == 0) this->print_edges();
  this->warn_if_memory_is_short(kk_.padded_atoms, kk_.padded_edges);
  DeviceType().fence(); // torch has a stream of its own
}

// Results -----------------------------------------------------------------------------------------

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::clear_atom_arrays() {
  const auto fits = [](const auto &array, int size) {
    return static_cast<int>(array.view_host().extent(0)) >= size;
  };
  if (eflag_atom && !fits(k_eatom_, maxeatom)) {
    memoryKK->destroy_kokkos(k_eatom_, eatom);
    memoryKK->create_kokkos(k_eatom_, eatom, maxeatom, "pair:eatom");
  }
  if (vflag_atom && !fits(k_vatom_, maxvatom)) {
    memoryKK->destroy_kokkos(k_vatom_, vatom);
    memoryKK->create_kokkos(k_vatom_, vatom, maxvatom, "pair:vatom");
  }
  if (cvflag_atom && !fits(k_cvatom_, maxcvatom)) {
    memoryKK->destroy_kokkos(k_cvatom_, cvatom);
    memoryKK->create_kokkos(k_cvatom_, cvatom, maxcvatom, "pair:cvatom");
  }
  if (eflag_atom) Kokkos::deep_copy(k_eatom_.template view<DeviceType>(), 0);
  if (vflag_atom) Kokkos::deep_copy(k_vatom_.template view<DeviceType>(), 0);
  if (cvflag_atom) Kokkos::deep_copy(k_cvatom_.template view<DeviceType>(), 0);
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::tally_energies(const mlip::Prediction &result) {
  typename AT::t_kkacc_1d d_eatom;
  if (eflag_atom) d_eatom = k_eatom_.template view<DeviceType>();
  const double energy = add_energies(kk_, result.atomic_energy, energy_unit_, d_eatom);
  if (!std::isfinite(energy)) {
    copy_graph_to_host();
    std::vector<double> energies(static_cast<std::size_t>(kk_.num_centres));
    Kokkos::deep_copy(
        Kokkos::View<double *, Kokkos::LayoutRight, LMPHostType>(energies.data(), energies.size()),
        ResultArray<DeviceType>(result.atomic_energy, energies.size()));
    mlip::Prediction on_host;
    on_host.atomic_energy = energies.data();
    this->stop_at_bad_energy(on_host);
  }
  if (eflag_global) this->eng_vdwl += energy_unit_ * energy;
  if (eflag_atom) {
    k_eatom_.template modify<DeviceType>();
    k_eatom_.sync_host();
  }
}

template <class Plain, class DeviceType>
EdgeForcesKokkos<DeviceType>
PairMLIPKokkos<Plain, DeviceType>::edge_forces(const mlip::Prediction &result) const {
  return {kk_, result.edge_forces, energy_unit_, cell()};
}

template <class Plain, class DeviceType>
template <class Rows, class Add>
void PairMLIPKokkos<Plain, DeviceType>::add_rows(const Rows &rows, int width, Add add) {
  const bool any = kk_.num_centres > 0;
  // With newton on, LAMMPS sends home what ghosts have got; without, their rows must not be touched.
  if (force->newton_pair || !this->has_ghost_forces()) {
    if (any) add(rows);
    return;
  }
  using Sums =
      Kokkos::View<double **, Kokkos::LayoutRight, DeviceType, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  messages_.resize(nall, width);
  const Sums sums(messages_.values.data(), static_cast<std::size_t>(nall), static_cast<std::size_t>(width));
  clear_rows<DeviceType>(sums, nall, width);
  if (any) add(sums);
  exchange_reverse();
  add_to_rows<DeviceType>(rows, sums, nlocal, width);
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::tally_forces(const mlip::Prediction &result) {
  const auto f = atomKK->k_f.template view<DeviceType>();
  const auto count = this->has_ghost_forces() ? kk_.num_atoms : kk_.num_centres;
  add_rows(f, 3, [&](const auto &rows) {
    if (result.forces)
      add_atom_forces(kk_, count, result.forces, energy_unit_, rows);
    else if (result.edge_forces)
      add_edge_forces(edge_forces(result), rows);
  });
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::tally_virials(const mlip::Prediction &result) {
  if (vflag_global && !this->has_virial()) {
    std::fill_n(virial, 6, std::numeric_limits<double>::quiet_NaN()); // prepare_simulation() has warned
  } else if (vflag_global && kk_.num_centres > 0) {
    if (result.virial) {
      double v[9];
      Kokkos::deep_copy(Kokkos::View<double *, Kokkos::LayoutRight, LMPHostType>(v, 9),
                        ResultArray<DeviceType>(result.virial, 9));
      const double voigt[6] = {v[0], v[4], v[8], v[1], v[2], v[5]};
      for (int k = 0; k < 6; ++k) virial[k] += energy_unit_ * voigt[k];
    } else {
      const auto sums = edge_virial(edge_forces(result));
      for (int k = 0; k < 6; ++k) virial[k] += sums.values[k];
    }
  }
  if (vflag_atom) {
    add_rows(k_vatom_.template view<DeviceType>(), 6,
             [&](const auto &rows) { add_atom_virials(edge_forces(result), rows); });
    k_vatom_.template modify<DeviceType>();
    k_vatom_.sync_host();
  }
  if (cvflag_atom) {
    add_rows(k_cvatom_.template view<DeviceType>(), 9,
             [&](const auto &rows) { add_centroid_virials(edge_forces(result), rows); });
    k_cvatom_.template modify<DeviceType>();
    k_cvatom_.sync_host();
  }
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::copy_graph_to_host() {
  const auto host = [](const auto &array) {
    return Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), array);
  };
  const auto position = host(kk_.position);
  const auto type = host(kk_.type);
  const auto edge_index = host(kk_.edge_index);
  const auto shift = host(kk_.shift);
  const auto atoms = host(kk_.atom_of);
  graph_.clear();
  atom_of_.clear();
  for (std::int64_t k = 0; k < kk_.num_atoms; ++k) {
    graph_.add_atom(&position(3 * k), static_cast<int>(type(k)));
    atom_of_.push_back(atoms(k));
  }
  for (std::int64_t e = 0; e < kk_.num_edges; ++e) {
    const auto i = edge_index(e), j = edge_index(kk_.padded_edges + e);
    if (cell())
      graph_.add_edge(i, j, &shift(3 * e));
    else
      graph_.add_edge(i, j);
  }
  graph_.num_centres = kk_.num_centres;
  if (cell()) std::copy_n(cell(), 9, graph_.cell);
  atomKK->sync(Host, TAG_MASK);
}

template <class Plain, class DeviceType>
const std::vector<int> &PairMLIPKokkos<Plain, DeviceType>::output_atoms() const {
  if (output_atoms_.empty() && kk_.num_atoms > 0) {
    const auto atoms = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), kk_.atom_of);
    output_atoms_.assign(atoms.data(), atoms.data() + kk_.num_atoms);
  }
  return output_atoms_;
}

template <class Plain, class DeviceType>
double PairMLIPKokkos<Plain, DeviceType>::memory_usage() {
  return Plain::memory_usage() + kk_.memory_usage() + mlip::memory_of(messages_.values);
}

// Communication -----------------------------------------------------------------------------------

template <class Plain, class DeviceType>
int PairMLIPKokkos<Plain, DeviceType>::pack_forward_comm(int n, int *list, double *buf, int, int *) {
  return messages_.pack_owners_host(n, list, buf);
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::unpack_forward_comm(int n, int first, double *buf) {
  messages_.unpack_ghosts_host(n, first, buf);
}

template <class Plain, class DeviceType>
int PairMLIPKokkos<Plain, DeviceType>::pack_reverse_comm(int n, int first, double *buf) {
  return messages_.pack_ghosts_host(n, first, buf);
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::unpack_reverse_comm(int n, int *list, double *buf) {
  messages_.add_to_owners_host(n, list, buf);
}

template <class Plain, class DeviceType>
int PairMLIPKokkos<Plain, DeviceType>::pack_forward_comm_kokkos(int n, DAT::tdual_int_1d k_list,
                                                                DAT::tdual_double_1d &k_buf, int, int *) {
  return messages_.pack_owners(n, k_list.view<DeviceType>(), k_buf.view<DeviceType>());
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::unpack_forward_comm_kokkos(int n, int first,
                                                                   DAT::tdual_double_1d &k_buf) {
  messages_.unpack_ghosts(n, first, k_buf.view<DeviceType>());
}

template <class Plain, class DeviceType>
int PairMLIPKokkos<Plain, DeviceType>::pack_reverse_comm_kokkos(int n, int first,
                                                                DAT::tdual_double_1d &k_buf) {
  return messages_.pack_ghosts(n, first, k_buf.view<DeviceType>());
}

template <class Plain, class DeviceType>
void PairMLIPKokkos<Plain, DeviceType>::unpack_reverse_comm_kokkos(int n, DAT::tdual_int_1d k_list,
                                                                   DAT::tdual_double_1d &k_buf) {
  messages_.add_to_owners(n, k_list.view<DeviceType>(), k_buf.view<DeviceType>());
}

} // namespace LAMMPS_NS
