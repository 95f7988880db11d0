// SPDX-License-Identifier: MIT
//
// What a compiled model file says about itself. Needs neither LAMMPS nor torch.

#pragma once

#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace mlip {

/// Everything that can be wrong with a model file, as one sentence for the user.
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

  static ModelMetadata parse(const std::string &file,
                             const std::unordered_map<std::string, std::string> &entries);

  /// Index of a type name in the model, -1 where the model has none of that name.
  int type_index(const std::string &name) const;

  double cutoff(int centre_type, int neighbour_type) const {
    return edge_cutoff[static_cast<std::size_t>(centre_type) * type_names.size() +
                       static_cast<std::size_t>(neighbour_type)];
  }

  /// Throws unless the model was compiled for this target.
  void require(const CompileTarget &target) const;
};

std::vector<std::string> split_words(const std::string &text);
std::string join_words(const std::vector<std::string> &words);

} // namespace mlip
