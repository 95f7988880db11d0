// SPDX-License-Identifier: MIT
//
// A compiled model behind one small interface, whatever its format. No torch header is needed to use it.

#pragma once

#include "atom_graph.h"
#include "model_metadata.h"

#include <memory>

namespace mlip {

/// Views of a model's results; valid until its next evaluation.
struct Prediction {
  const double *atomic_energy = nullptr; ///< (N)
  const double *forces = nullptr;        ///< (N, 3)
  const double *virial = nullptr;        ///< (3, 3), sum over atoms of position times force
};

class Model {
 public:
  virtual ~Model() = default;

  /// Opens `*.nequip.pt2` (AOTInductor) or `*.nequip.pth` (TorchScript). Ranks of one node share its GPUs by
  /// `rank_on_node`. Throws ModelError.
  static std::unique_ptr<Model> open(const std::string &file, const CompileTarget &target, int rank_on_node);

  virtual const ModelMetadata &metadata() const = 0;

  /// Where and how the model runs, for the log: "AOTInductor on cpu".
  virtual std::string description() const = 0;

  /// Energies, forces and virial of a finished graph. Throws ModelError.
  virtual Prediction evaluate(AtomGraph &graph) = 0;
};

} // namespace mlip
