# rendered from recipes/sites/generic-slurm/site.yaml by mlip job render
#
# For work by hand on generic-slurm: `. env.sh`, then programs as they are: nequip-train ...
# Jobs do not read this file: their scripts say the same.
# shellcheck shell=bash
MLIP_LOCAL=${MLIP_LOCAL:-${TMPDIR:-/tmp}/mlip-${SLURM_JOB_ID:-$USER}}
mkdir -p "$MLIP_LOCAL/tmp" 2>/dev/null || MLIP_LOCAL=/tmp/mlip-$USER # on a login node
export MLIP_LOCAL
export OMP_NUM_THREADS="1" # ranks share a node; the Frontier tutorial found one thread a rank faster
export HYDRA_FULL_ERROR="0" # nequip-train says what is wrong in one sentence; 1 adds the traceback
export WANDB_MODE="offline" # compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
export TMPDIR="$MLIP_LOCAL/tmp" # compiled models are unpacked and loaded from there, many small files
export TRITON_CACHE_DIR="$MLIP_LOCAL/cache/triton" # many small files that ranks of all nodes would write to one file system
export TORCHINDUCTOR_CACHE_DIR="$MLIP_LOCAL/cache/inductor" # what torch.compile and AOTInductor generate, many small files as well
export PYTORCH_KERNEL_CACHE_PATH="$MLIP_LOCAL/cache/kernels" # kernels that torch compiles while it runs, many small files as well
mkdir -p "$TMPDIR" "$TRITON_CACHE_DIR" "$TORCHINDUCTOR_CACHE_DIR" "$PYTORCH_KERNEL_CACHE_PATH"
# MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
export PATH="${MLIP_VENV:+$MLIP_VENV/bin:}${MLIP_VIEW:+$MLIP_VIEW/bin:}$PATH"
