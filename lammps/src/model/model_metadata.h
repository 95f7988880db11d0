// SPDX-License-Identifier: MIT
//
// What a compiled model file says about itself. Needs neither LAMMPS nor torch.

#pragma once

#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace mlip {

/// Everything that can be wrong with a model file or its evaluation, as one sentence for the user.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a pair style hands to a model and asks of it; named after `nequip-compile --target`.
struct CompileTarget {
  std::string name;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
};

/// The strings stored in a model file, parsed and checked.
struct ModelMetadata {
  std::string file;
  std::vector<std::string> type_names;
  double r_max = 0.0;
  /// Cutoff of an edge by (centre type, neighbour type), row-major; not symmetric in general.
  std::vector<double> edge_cutoff;
  std::string dtype;
  bool allow_tf32 = false;
  std::string device;  ///< empty where the file runs on any device
  std::string cpu_isa; ///< instruction set the CPU code needs; empty where unknown
  std::string threads; ///< OpenMP threads the code was compiled for; empty where unknown
  /// Names in the order in which the model takes and returns them; empty where the file does not say.
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;

  bool has_ghost_types = false;  ///< takes types t + num_types: atoms whose energy is not counted
  int num_layers = 0;            ///< interaction layers; 0 where the file does not say
  std::vector<int> layer_widths; ///< D_1 ... D_{L-1}: features per atom between layers
  bool has_stages = false;       ///< holds the pieces to run layer by layer
  double bytes_per_atom = 0.0;   ///< GPU memory of an evaluation; 0 where unknown
  double bytes_per_edge = 0.0;
  std::string provenance; ///< JSON; empty where the file does not say

  static ModelMetadata parse(const std::string &file,
                             const std::unordered_map<std::string, std::string> &entries);

  /// The keys parse() looks for.
  static const std::vector<std::string> &keys();

  int num_types() const { return static_cast<int>(type_names.size()); }

  /// Index of a type name in the model, -1 where the model has none of that name.
  int type_index(const std::string &name) const;

  double cutoff(int centre_type, int neighbour_type) const {
    return edge_cutoff[static_cast<std::size_t>(centre_type) * type_names.size() +
                       static_cast<std::size_t>(neighbour_type)];
  }

  /// Throws unless the model was compiled for this target.
  void require(const CompileTarget &target) const;

  /// "mlip 0.1.0, torch 2.13.0, 2026-11-20, best.ckpt": what `provenance` says, or empty.
  std::string provenance_line() const;
};

std::vector<std::string> split_words(const std::string &text);
std::string join_words(const std::vector<std::string> &words);

} // namespace mlip
