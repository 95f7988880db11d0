// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_nequip_kokkos.h"

#include "pair_mlip_kokkos_impl.h"
#include "stage_rows_kokkos.h"

#include "domain.h"

#include <algorithm>

namespace LAMMPS_NS {

template <class DeviceType>
PairNequIPKokkos<DeviceType>::PairNequIPKokkos(LAMMPS *lmp) : PairMLIPKokkos<PairNequIP, DeviceType>(lmp) {}

template <class DeviceType>
void PairNequIPKokkos<DeviceType>::build_graph_on_device(const NeighbourhoodKokkos<DeviceType> &near) {
  const auto &model = this->model_->metadata();
  const auto mode = this->exchange_;
  auto &graph = this->kk_;
  graph.set_centres(near);
  if (mode == Exchange::periodic) {
    // Which atom a ghost is an image of follows from how its position got here; atom IDs need not be unique
    // for that.
    this->messages_.resize(near.nall, 1);
    name_owners(this->atom->nlocal, this->messages_.values);
    this->exchange_forward();
    const auto *const box = this->domain;
    const double rows[9] = {box->xprd, 0.0, 0.0, box->xy, box->yprd, 0.0, box->xz, box->yz, box->zprd};
    std::copy_n(rows, 9, cell_);
    graph.add_periodic_edges(near, this->messages_.values, box->h_inv, this->in_buckets_);
  } else {
    const int layers = this->layers_;
    graph.add_reached(near, mode == Exchange::extended   ? layers
                            : mode == Exchange::complete ? 2 * layers
                                                         : 1);
    graph.add_edges(near, this->in_buckets_);
  }
  graph.fill_atoms(near, this->kk_model_type_, model.has_ghost_types ? model.num_types() : 0);
  graph.fill_padding(model.r_max);
}

template <class DeviceType>
const double *PairNequIPKokkos<DeviceType>::cell() const {
  return this->exchange_ == Exchange::periodic ? cell_ : nullptr;
}

template <class DeviceType>
mlip::Prediction PairNequIPKokkos<DeviceType>::predict_on_device() {
  return this->exchange_ == Exchange::staged ? predict_in_stages() : Base::predict_on_device();
}

// Layer by layer ----------------------------------------------------------------------------------

template <class DeviceType>
mlip::Prediction PairNequIPKokkos<DeviceType>::predict_in_stages() {
  // Ranks without atoms take part in every exchange: data of others pass through them.
  const bool any = this->kk_.num_centres > 0;
  if (any) this->check_graph();
  const auto graph = this->view();
  const std::int64_t num_components = 3 * this->kk_.padded_edges;
  const int passes = this->layers_ - 1; // layers after which features travel
  features_.resize(static_cast<std::size_t>(passes));
  mlip::reserve(edge_forces_, num_components, "mlip:edge_forces");
  Kokkos::deep_copy(edge_forces_, 0.0);

  std::vector<const double *> inputs{nullptr}; // of each layer
  for (int layer = 0; layer < passes; ++layer) inputs.push_back(features_of_all(layer, graph, inputs.back()));

  mlip::Prediction result;
  const double *adjoint = nullptr;
  if (any)
    this->guarded([&] {
      DeviceType().fence();
      const auto last = this->model_->energy(graph, inputs.back());
      result.atomic_energy = last.atomic_energy;
      adjoint = last.adjoint;
      add_values(edge_forces_, last.edge_forces, num_components);
    });
  for (int layer = passes - 1; layer >= 0; --layer) {
    const double *const complete = adjoint_of_centres(layer, adjoint);
    if (any)
      this->guarded([&] {
        DeviceType().fence();
        const auto gradient =
            this->model_->backward(layer, graph, inputs[static_cast<std::size_t>(layer)], complete);
        adjoint = gradient.adjoint;
        add_values(edge_forces_, gradient.edge_forces, num_components);
      });
  }
  result.edge_forces = edge_forces_.data();
  return result;
}

template <class DeviceType>
const double *PairNequIPKokkos<DeviceType>::features_of_all(int layer, const mlip::GraphView &graph,
                                                            const double *input) {
  const int nlocal = this->atom->nlocal;
  const int width = this->model_->metadata().layer_widths[static_cast<std::size_t>(layer)];
  auto &features = features_[static_cast<std::size_t>(layer)];
  const double *computed = nullptr;
  if (this->kk_.num_centres > 0)
    this->guarded([&] {
      DeviceType().fence();
      computed = this->model_->forward(layer, graph, input);
    });
  this->messages_.resize(nlocal + this->atom->nghost, width);
  centres_to_exchange(this->kk_, nlocal, width, computed, this->messages_.values);
  this->exchange_forward();
  mlip::reserve(features, this->kk_.padded_atoms * width, "mlip:features");
  exchange_to_nodes(this->kk_, this->kk_.num_atoms, width, this->messages_.values, features);
  return features.data();
}

template <class DeviceType>
const double *PairNequIPKokkos<DeviceType>::adjoint_of_centres(int layer, const double *adjoint) {
  const int nall = this->atom->nlocal + this->atom->nghost;
  const int width = this->model_->metadata().layer_widths[static_cast<std::size_t>(layer)];
  this->messages_.resize(nall, width);
  nodes_to_exchange(this->kk_, nall, width, adjoint, this->messages_.values);
  this->exchange_reverse();
  mlip::reserve(adjoint_, this->kk_.padded_atoms * width, "mlip:adjoint");
  // What this rank computed for ghosts was replaced, so nothing depends on it.
  exchange_to_nodes(this->kk_, this->kk_.num_centres, width, this->messages_.values, adjoint_);
  return adjoint_.data();
}

template <class DeviceType>
double PairNequIPKokkos<DeviceType>::memory_usage() {
  double bytes = Base::memory_usage() + mlip::memory_of(adjoint_) + mlip::memory_of(edge_forces_);
  for (const auto &layer : features_) bytes += mlip::memory_of(layer);
  return bytes;
}

template class PairNequIPKokkos<LMPDeviceType>;
#ifdef LMP_KOKKOS_GPU
template class PairNequIPKokkos<LMPHostType>;
#endif

} // namespace LAMMPS_NS
