// SPDX-License-Identifier: MIT
//
// Settings of the whole process that decide the speed of a model on a CPU.

#pragma once

namespace mlip {

/// Threads of torch's own operations and of compiled models, per MPI rank.
void set_num_threads(int threads);

/// Makes malloc keep freed memory, once per process; the environment variable MLIP_MALLOC=default leaves it
/// alone.
void keep_freed_memory();

} // namespace mlip
