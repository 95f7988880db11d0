// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the pair styles nequip and allegro have in common: input lines, the model, and its results. They
// differ in the graph: see pair_nequip.h and pair_allegro.h.

#pragma once

#include "pair.h"

#include "model.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairMLIP : public Pair {
 public:
  PairMLIP(class LAMMPS *lmp, mlip::CompileTarget target);
  ~PairMLIP() override;

  void settings(int narg, char **arg) override;
  void coeff(int narg, char **arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;
  double memory_usage() override;

 protected:
  /// Refuses settings of the simulation this style cannot work with; the box exists.
  virtual void check_simulation() = 0;

  /// Fills `graph_` and `atom_of_` from the neighbor list, `graph_.finish()` excepted.
  virtual void build_graph() = 0;

  /// Prints the edges in the format the reference pair styles use.
  virtual void print_edges() const = 0;

  /// Appends a LAMMPS atom to the graph.
  std::int64_t add_atom(int i);

  /// Appends the atoms that have neighbours here, in the order of the neighbor list.
  void add_centres();

  /// Calls `add(centre, j)` for each neighbour j within the cutoff, centre by centre in ascending order.
  template <class Add>
  void for_each_edge(Add add) const;

  std::string style() const { return "pair style " + target_style_; }

  mlip::AtomGraph graph_;
  std::vector<int> atom_of_;              // LAMMPS index of each atom of the graph
  std::vector<std::int64_t> graph_index_; // index in the graph of each LAMMPS atom, -1 where absent

 private:
  void read_types(int narg, char **arg);
  void allocate();
  void log_provenance() const;
  void stop_everywhere_if(const std::string &problem) const;
  [[noreturn]] void stop_at_bad_energy(const mlip::Prediction &result) const;
  int rank_on_node() const;

  mlip::CompileTarget target_;
  std::string target_style_;
  std::unique_ptr<mlip::Model> model_;
  std::vector<int> model_type_; // by LAMMPS type, from 1; -1 where the name is NULL
  std::vector<double> cutsq_;   // by LAMMPS types of (centre, neighbour), row-major
  bool with_shifts_;
  bool debug_;
};

} // namespace LAMMPS_NS

#include "pair_mlip_edges.h"
