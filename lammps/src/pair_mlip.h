// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the pair styles nequip and allegro have in common: input lines, the model, and its results. They
// differ in the graph and in what ranks exchange: see pair_nequip.h and pair_allegro.h.
//
//     pair_style allegro|nequip [device auto|cpu|cuda|cuda:N] [tf32 model|on|off]
//                               [exchange auto|extended|staged] [layers N]      (the last two: nequip only)
//     pair_coeff * * FILE name ...              (a name or NULL per atom type)

#pragma once

#include "pair.h"

#include "model/atom_graph.h"
#include "model/model.h"

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

  void write_restart(FILE *file) override;
  void read_restart(FILE *file) override;
  void write_restart_settings(FILE *file) override;
  void read_restart_settings(FILE *file) override;

  int pack_forward_comm(int n, int *list, double *buf, int pbc_flag, int *pbc) override;
  void unpack_forward_comm(int n, int first, double *buf) override;
  int pack_reverse_comm(int n, int first, double *buf) override;
  void unpack_reverse_comm(int n, int *list, double *buf) override;

  // For the compute styles.

  /// An output of the model at this step, in its own units; nothing on a rank without atoms.
  virtual mlip::NamedOutput output(const std::string &name);

  /// LAMMPS indices of the atoms an output per atom is for.
  virtual const std::vector<int> &output_atoms() const { return atom_of_; }

  /// Names of the outputs; the model is loaded.
  const std::vector<std::string> &output_names() const { return model_->output_names(); }

 protected:
  /// Takes an option of the style alone; false where it has none of that name.
  virtual bool read_option(const std::string &name, const std::string &value);

  /// Back to the defaults: a pair_style line names all options that are to differ from them.
  /// Whether a word is a whole number that fits any counter of ours.
  static bool is_small_number(const std::string &text);
  virtual void reset_options();

  /// The options, for the error message.
  virtual std::string option_names() const { return "device auto|cpu|cuda|cuda:N, tf32 model|on|off"; }

  /// A pair_style line may be stored in restart files; integers do for that.
  virtual std::vector<int> options_as_numbers() const;
  virtual void set_options_from_numbers(const std::vector<int> &numbers);

  /// Refuses settings of the simulation this style cannot work with, and prepares for the rest; the model is
  /// loaded.
  virtual void prepare_simulation() = 0;

  /// Asks for the neighbor list, with the neighbours of ghosts where they count.
  virtual void request_neighbours(bool of_ghosts);

  /// Fills `graph_` and `atom_of_` from the neighbor list, `graph_.finish()` excepted.
  virtual void build_graph() = 0;

  /// Builds the graph and runs the model on it. Called by all ranks, also those without atoms.
  virtual mlip::Prediction predict();

  /// Prints the edges in the format the reference pair styles use.
  virtual void print_edges() const = 0;

  /// Whether forces on atoms of other ranks are part of the results.
  virtual bool has_ghost_forces() const = 0;

  /// Whether the sum over edges of position times force, taken at the neighbour, gives the exact heat flux.
  virtual bool has_exact_heat_flux() const = 0;

  /// Whether the model's virial is that of the energy that counts.
  virtual bool has_virial() const { return true; }

  /// Appends a LAMMPS atom to the graph; one that is not counted keeps its energy out of the sum.
  std::int64_t add_atom(int i, bool counted = true);

  /// Appends the atoms that have neighbours here, in the order of the neighbor list.
  void add_centres();

  /// Calls `add(j)` for each neighbour of LAMMPS atom i within the cutoff.
  template <class Add>
  void for_each_neighbour(int i, Add add) const;

  /// Calls `add(centre, j)` for each neighbour j within the cutoff, centre by centre in ascending order.
  template <class Add>
  void for_each_edge(Add add) const;

  /// Runs `evaluate` and turns the model's errors into LAMMPS's.
  template <class Evaluate>
  void guarded(Evaluate evaluate) const;

  mlip::GraphView finished_graph();
  void load_model();
  void stop_everywhere_if(const std::string &problem) const;
  void warn_if_memory_is_short(std::int64_t num_atoms, std::int64_t num_edges);
  void check_virial_request();
  void stop_at_bad_positions() const;
  [[noreturn]] void stop_at_bad_energy(const mlip::Prediction &result) const;
  int rank_on_node() const;
  std::string style() const { return "pair style " + target_style_; }

  // Rows of an array per atom: from owners to ghosts, or summed from ghosts onto owners. `row_of` gives the
  // row of each LAMMPS atom, ghosts included; without it they are in LAMMPS's order.
  void send_to_ghosts(double *rows, int width, const std::int64_t *row_of = nullptr);
  void sum_from_ghosts(double *rows, int width, const std::int64_t *row_of = nullptr);

  /// Room in the buffers of LAMMPS's communication; call in init_style.
  void reserve_communication(int forward, int reverse);

  mlip::CompileTarget target_;
  std::string target_style_;
  std::unique_ptr<mlip::Model> model_;
  mlip::DeviceRequest device_;
  std::vector<std::string> coeff_; // file and names of the pair_coeff line
  std::vector<int> model_type_;    // by LAMMPS type, from 1; -1 where the name is NULL
  std::vector<double> cutsq_;      // by LAMMPS types of (centre, neighbour), row-major
  double energy_unit_ = 1.0;       // eV in the units of the simulation

  mlip::AtomGraph graph_;
  std::vector<int> atom_of_;              // LAMMPS index of each atom of the graph
  std::vector<std::int64_t> graph_index_; // index in the graph of each LAMMPS atom, -1 where absent
  std::string log_note_;                  // what init_style says in the log
  bool debug_;
  bigint evaluated_step_ = -1;

 private:
  void allocate();
  void read_types();
  void set_units();
  void log_model() const;
  void log_simulation();
  void add_energies(const mlip::Prediction &result);
  void add_forces(const mlip::Prediction &result);
  void add_virial(const mlip::Prediction &result);
  void add_atom_virials(const mlip::Prediction &result);
  double *ghost_rows(int width);
  void add_ghost_rows(double **target, int width);

  /// Calls `add(centre, neighbour, vector, gradient)` for each edge: graph indices, Angstrom, and the
  /// derivative of the energy by the vector in the units of the simulation.
  template <class Add>
  void for_each_edge_force(const mlip::Prediction &result, Add add) const;

  bool with_shifts_;
  bool loaded_ = false; // the model of the latest pair_coeff line or restart file
  std::string logged_;
  std::int64_t checked_edges_ = 0;
  bool warned_of_heat_flux_ = false;
  std::vector<double> ghost_rows_; // what goes home to the owners of ghosts

  struct {
    double *rows = nullptr;
    int width = 0;
    const std::int64_t *row_of = nullptr;
  } exchanged_;
};

} // namespace LAMMPS_NS

#include "pair_mlip_edges.h"
