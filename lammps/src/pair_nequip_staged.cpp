// SPDX-License-Identifier: GPL-2.0-or-later
//
// Several ranks, layer by layer: features go to ghosts, derivatives by them come back.
//
// The arrays have a row for each atom of the graph, in its order, and then for the ghosts that are not in it:
// a rank may have to pass on what it does not need. Ghosts have no edges, so that what a layer returns for
// them means nothing and is replaced by what their owners send.

#include "pair_nequip.h"

#include "atom.h"

#include <algorithm>

using namespace LAMMPS_NS;

void PairNequIP::assign_rows() {
  row_of_ = graph_index_;
  num_rows_ = graph_.num_atoms(); // with those that fill up a small graph
  for (auto &row : row_of_)
    if (row < 0) row = num_rows_++;
}

mlip::Prediction PairNequIP::predict_in_stages() {
  build_graph();
  // Ranks without atoms take part in every exchange: data of others pass through them.
  const bool any = graph_.num_centres > 0;
  mlip::GraphView graph;
  if (any) graph = finished_graph();
  assign_rows();

  const auto &widths = model_->metadata().layer_widths;
  const int passes = layers_ - 1; // layers after which features travel
  const auto num_atoms = static_cast<std::size_t>(graph.num_atoms);
  const auto num_rows = static_cast<std::size_t>(num_rows_);
  features_.resize(static_cast<std::size_t>(passes));
  mlip::Prediction result;

  const double *input = nullptr;
  for (int layer = 0; layer < passes; ++layer) {
    auto &features = features_[static_cast<std::size_t>(layer)];
    const int width = widths[static_cast<std::size_t>(layer)];
    features.assign(num_rows * static_cast<std::size_t>(width), 0.0);
    if (any)
      guarded([&] {
        std::copy_n(model_->forward(layer, graph, input), num_atoms * static_cast<std::size_t>(width),
                    features.data());
      });
    send_to_ghosts(features.data(), width, row_of_.data());
    input = features.data();
  }

  const auto add_edge_forces = [&](const double *more) {
    for (std::size_t k = 0; k < edge_forces_.size(); ++k) edge_forces_[k] += more[k];
  };
  edge_forces_.assign(3 * static_cast<std::size_t>(graph.num_edges), 0.0);
  const double *adjoint = nullptr;
  if (any)
    guarded([&] {
      const auto last = model_->energy(graph, input);
      result.atomic_energy = last.atomic_energy;
      adjoint = last.adjoint;
      add_edge_forces(last.edge_forces);
    });

  const auto num_centres = static_cast<std::size_t>(graph_.num_centres);
  for (int layer = passes - 1; layer >= 0; --layer) {
    const auto width = static_cast<std::size_t>(widths[static_cast<std::size_t>(layer)]);
    adjoint_.assign(num_rows * width, 0.0);
    if (adjoint) std::copy_n(adjoint, num_atoms * width, adjoint_.data());
    sum_from_ghosts(adjoint_.data(), static_cast<int>(width), row_of_.data());
    // What this rank computed for ghosts was replaced, so nothing depends on it.
    std::fill(adjoint_.begin() + static_cast<std::ptrdiff_t>(num_centres * width), adjoint_.end(), 0.0);
    if (any)
      guarded([&] {
        const double *before = layer > 0 ? features_[static_cast<std::size_t>(layer) - 1].data() : nullptr;
        const auto gradient = model_->backward(layer, graph, before, adjoint_.data());
        adjoint = gradient.adjoint;
        add_edge_forces(gradient.edge_forces);
      });
  }
  result.edge_forces = edge_forces_.data();
  return result;
}
