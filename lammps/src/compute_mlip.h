// SPDX-License-Identifier: GPL-2.0-or-later
//
// compute ID group nequip|allegro FIELD LENGTH            any output of the model file, summed over ranks
// compute ID group nequip/atom|allegro/atom FIELD LENGTH [NEWTON 0|1]   an output per atom; with 1, what the
//                                                         model gives for ghosts is added to their owners

#ifdef COMPUTE_CLASS
// clang-format off
ComputeStyle(nequip,ComputeMLIP);
ComputeStyle(allegro,ComputeMLIP);
ComputeStyle(nequip/atom,ComputeMLIPAtom);
ComputeStyle(allegro/atom,ComputeMLIPAtom);
// clang-format on
#else

#ifndef MLIP_COMPUTE_MLIP_H
#define MLIP_COMPUTE_MLIP_H

#include "compute.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

/// What both have in common: the field, and the pair style it comes from.
class ComputeModelOutput : public Compute {
 public:
  ComputeModelOutput(class LAMMPS *lmp, int narg, char **arg);
  void init() override;

 protected:
  std::string name() const { return std::string("compute ") + style; }

  std::string pair_style_; // nequip or allegro
  std::string field_;
  int length_ = 0;
  class PairMLIP *pair_ = nullptr;
};

class ComputeMLIP : public ComputeModelOutput {
 public:
  ComputeMLIP(class LAMMPS *lmp, int narg, char **arg);
  ~ComputeMLIP() override;
  void compute_vector() override;

 private:
  std::vector<double> mine_, sum_;
};

class ComputeMLIPAtom : public ComputeModelOutput {
 public:
  ComputeMLIPAtom(class LAMMPS *lmp, int narg, char **arg);
  ~ComputeMLIPAtom() override;
  void compute_peratom() override;
  double memory_usage() override;
  int pack_reverse_comm(int n, int first, double *buf) override;
  void unpack_reverse_comm(int n, int *list, double *buf) override;

 private:
  bool newton_ = false;
  int rows_ = 0;
  double **values_ = nullptr;
};

} // namespace LAMMPS_NS

#endif
#endif
