// SPDX-License-Identifier: GPL-2.0-or-later
//
// The entry LAMMPS calls in a plugin: it registers the pair styles.

#include "pair_allegro.h"
#include "pair_nequip.h"

#include "lammps.h"

using namespace LAMMPS_NS;

namespace {

// The interface of LAMMPS's plugin loader, which the lammps package of the Python index has no header for:
// the names are ours, the order and types of the members are LAMMPS's.
struct PluginStyle {
  const char *version;
  const char *style;
  const char *name;
  const char *info;
  const char *author;
  void *(*create)(void *);
  void *handle;
};
using RegisterStyle = void (*)(PluginStyle *, void *);

template <class Style>
void *create(void *lmp) {
  return static_cast<Pair *>(new Style(static_cast<LAMMPS *>(lmp)));
}

} // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *register_style) {
  PluginStyle style;
  style.version = MLIP_LAMMPS_VERSION;
  style.style = "pair";
  style.author = "the mlip developers";
  style.handle = handle;
  const auto add = reinterpret_cast<RegisterStyle>(register_style);

  style.name = "allegro";
  style.info = "Allegro models compiled for pair_allegro";
  style.create = create<PairAllegro>;
  add(&style, lmp);

  style.name = "nequip";
  style.info = "NequIP models compiled for pair_nequip";
  style.create = create<PairNequIP>;
  add(&style, lmp);
}
