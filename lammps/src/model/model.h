// SPDX-License-Identifier: MIT
//
// A compiled model behind one small interface, whatever its format and the device it runs on. Neither torch
// nor LAMMPS headers are needed to use it.
//
// Names: N atoms, E edges, L interaction layers, D_k features per atom after layer k (from 1).
//
// Streams: with Space::device the caller has finished writing the graph (a fence) before it calls, and
// results are complete when a call returns.

#pragma once

#include "model_metadata.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlip {

/// Where the arrays of a graph and of the results for it are: in the memory of the host, or of the GPU the
/// model runs on. Models on the CPU take host graphs only.
enum class Space { host, device };

/// Arrays of the caller, which stay valid during the call. Edges are sorted by centre; compiled models take
/// at least two atoms and two edges (see AtomGraph::finish).
struct GraphView {
  std::int64_t num_atoms = 0;
  std::int64_t num_edges = 0;
  const double *position = nullptr;         ///< (N, 3) Angstrom
  const std::int64_t *type = nullptr;       ///< (N); t + num_types where the energy is not to be counted
  const std::int64_t *edge_index = nullptr; ///< (2, E), rows centre and neighbour
  const double *edge_cell_shift = nullptr;  ///< (E, 3) lattice vectors to add, or null: none
  const double *cell = nullptr;             ///< (3, 3) rows are lattice vectors, always on the host, or null
  Space space = Space::host;
};

/// Views of a model's results, in the space of the graph; valid until the next evaluation of this model. All
/// are of the energy that counts: the sum over atoms whose type is below num_types.
struct Prediction {
  const double *atomic_energy = nullptr; ///< (N) eV
  const double *forces = nullptr;        ///< (N, 3) eV/Angstrom
  const double *virial = nullptr;        ///< (3, 3) eV, sum over atoms of position times force
  const double *edge_forces =
      nullptr; ///< (E, 3) derivative by the edge vectors; null where the file has none
};

/// What the last stage of a model that runs layer by layer gives.
struct StageEnergy {
  const double *atomic_energy = nullptr; ///< (N)
  const double *adjoint = nullptr;       ///< (N, D_{L-1}) derivative by the features it was given
  const double *edge_forces = nullptr;   ///< (E, 3)
};

/// What a layer gives on the way back.
struct StageGradient {
  const double *adjoint = nullptr; ///< (N, D_layer) derivative by the features it was given; null for layer 0
  const double *edge_forces = nullptr; ///< (E, 3)
};

/// An output of the latest evaluate(), on the host.
struct NamedOutput {
  const double *data = nullptr;
  std::int64_t size = 0;
};

/// The user's wishes about the device, and what is needed to share the GPUs of a node among its ranks.
struct DeviceRequest {
  enum class Kind { automatic, cpu, cuda };
  Kind kind = Kind::automatic;
  int index = -1;           ///< of the GPU; -1: by rank
  int rank_on_node = 0;     ///< ranks of one node take its GPUs in turn
  std::optional<bool> tf32; ///< overrides what the file says
};

/// Bytes of the GPU a model runs on.
struct DeviceMemory {
  double free = 0.0; ///< what is left for this process, its own cached memory included
  double total = 0.0;
};

class Model {
 public:
  virtual ~Model() = default;

  /// Opens `*.nequip.pt2` (AOTInductor) or `*.nequip.pth` (TorchScript). Throws ModelError, as all calls here
  /// do.
  static std::unique_ptr<Model> open(const std::string &file, const CompileTarget &target,
                                     const DeviceRequest &request);

  virtual const ModelMetadata &metadata() const = 0;

  /// Where and how the model runs, for the log: "AOTInductor on cpu".
  virtual std::string description() const = 0;

  virtual bool on_gpu() const = 0;

  /// Energies, forces and virial.
  virtual Prediction evaluate(const GraphView &graph) = 0;

  // Layer by layer: forward(0) ... forward(L-2), energy, backward(L-2) ... backward(0), all with the graph of
  // forward(0), which alone reads it. Between the calls the caller completes features and adjoints over
  // ranks. `features` are those layer `layer` starts from, null for layer 0. Results of one call are valid
  // until the same call of the next step.

  /// Whether the file has the pieces for it.
  bool has_stages() const { return metadata().has_stages; }

  /// Loads the pieces; the first call below does it otherwise.
  virtual void load_stages() = 0;

  /// (N, D_{layer+1}); `layer` from 0 to L-2.
  virtual const double *forward(int layer, const GraphView &graph, const double *features) = 0;
  virtual StageEnergy energy(const GraphView &graph, const double *features) = 0;
  virtual StageGradient backward(int layer, const GraphView &graph, const double *features,
                                 const double *adjoint) = 0;

  // Whatever else the file returns.

  /// Names of the outputs of evaluate(), in the file's order.
  virtual const std::vector<std::string> &output_names() const = 0;

  /// An output of the latest evaluate(); valid until the next one.
  virtual NamedOutput output(const std::string &name) = 0;

  /// Nothing where the model runs on the CPU or torch does not say.
  virtual std::optional<DeviceMemory> device_memory() const = 0;
};

} // namespace mlip
