// SPDX-License-Identifier: GPL-2.0-or-later
//
// pair style nequip: models that pass messages in L layers. An atom's energy depends on neighbours of
// neighbours, L times. How the ranks come by what they need of each other:
//
// - periodic: one rank holds the whole system as a periodic graph: an edge to a ghost becomes an edge to the
//   atom it is an image of, with the lattice vectors between the two.
// - extended: ghosts within L cutoffs, with edges of their own where a message of theirs counts. Every rank
//   computes the messages of its ghosts itself. The energy of ghosts is not counted; forces on them go home.
// - staged: ghosts within one cutoff. After each layer the features of atoms are sent to their ghosts, and on
//   the way back the derivatives by the features of ghosts are sent home. Nothing is computed twice.
// - complete: for files that count the energy of every atom they are given, those of the reference: ghosts
//   within 2 L cutoffs, so that forces on this rank's own atoms are complete. Those on ghosts are dropped.
//
// One rank takes the periodic graph. Several take the staged exchange if the file can do it and the extended
// one would have to compute more than half as many atoms again as a rank has; else the extended one, or the
// complete one where there is no other. 'pair_style nequip exchange extended|staged' overrides. Models of one
// layer have no messages that matter: ghosts within one cutoff are all they need.

#ifdef PAIR_CLASS
// clang-format off
PairStyle(nequip,PairNequIP);
// clang-format on
#else

#ifndef MLIP_PAIR_NEQUIP_H
#define MLIP_PAIR_NEQUIP_H

#include "pair_mlip.h"

#include <utility>

namespace LAMMPS_NS {

class PairNequIP : public PairMLIP {
 public:
  explicit PairNequIP(class LAMMPS *lmp);
  ~PairNequIP() override;

 protected:
  enum class Exchange { automatic, periodic, extended, staged, complete };

  bool read_option(const std::string &name, const std::string &value) override;
  void reset_options() override;
  std::string option_names() const override;
  std::vector<int> options_as_numbers() const override;
  void set_options_from_numbers(const std::vector<int> &numbers) override;

  void prepare_simulation() override;
  void build_graph() override;
  mlip::Prediction predict() override;
  void print_edges() const override;
  bool has_ghost_forces() const override {
    return exchange_ == Exchange::extended || exchange_ == Exchange::staged;
  }
  bool has_exact_heat_flux() const override { return layers_ == 1; }
  bool has_virial() const override { return exchange_ != Exchange::complete; }
  mlip::NamedOutput output(const std::string &name) override;

  int choose_layers() const;
  Exchange choose_exchange() const;
  /// Atoms that must be computed for each atom of a rank, with ghosts within `halo` counted.
  double computed_per_atom(double halo) const;
  void widen_communication(double cutoff);
  void restore_communication();

  Exchange exchange_asked_ = Exchange::automatic;
  int layers_asked_ = 0;
  Exchange exchange_ = Exchange::periodic;
  int layers_ = 0; // 0: not known, and not needed

 private:
  void build_periodic_graph();
  void set_cell();
  void find_images();
  void build_extended_graph(int hops);
  void add_shell(int i, std::int64_t centre);
  void build_local_graph();
  void assign_rows();
  mlip::Prediction predict_in_stages();

  double user_cutoff_ = 0.0; // of the communication, before we widened it
  double our_cutoff_ = 0.0;  // what we made of it; 0: nothing

  // periodic
  std::vector<std::pair<tagint, int>> local_by_tag_; // sorted; atom IDs may have gaps, and may be huge
  std::vector<std::int64_t> image_of_; // index in the graph of the atom each ghost is an image of
  std::vector<double> shift_;          // lattice vectors from that atom to the ghost
  bool images_known_ = false;

  // staged
  std::vector<std::int64_t>
      row_of_; // of each LAMMPS atom in the arrays below: graph atoms first, then other ghosts
  std::int64_t num_rows_ = 0;
  std::vector<std::vector<double>> features_; // after each layer but the last
  std::vector<double> adjoint_;
  std::vector<double> edge_forces_;
};

} // namespace LAMMPS_NS

#endif
#endif
