# rendered from recipes/sites/perlmutter/site.yaml by mlip job render
#
# For work by hand on perlmutter: `. env.sh`, then programs as they are: nequip-train ...
# Jobs do not read this file: their scripts say the same.
# shellcheck shell=bash
MLIP_LOCAL=${MLIP_LOCAL:-/tmp/mlip-${SLURM_JOB_ID:-$USER}}
mkdir -p "$MLIP_LOCAL/tmp" 2>/dev/null || MLIP_LOCAL=/tmp/mlip-$USER # on a login node
export MLIP_LOCAL
command -v module >/dev/null || { echo "mlip: there is no command module: is this perlmutter?" >&2; exit 1; }
module load PrgEnv-gnu # compilers and Cray MPICH
module load cudatoolkit # CUDA's compiler and libraries
module load craype-accel-nvidia80 # GPU transport (GTL) of Cray MPICH
export OMP_NUM_THREADS="1" # ranks share a node; the Frontier tutorial found one thread a rank faster
export HYDRA_FULL_ERROR="0" # nequip-train says what is wrong in one sentence; 1 adds the traceback
export WANDB_MODE="offline" # compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
export TMPDIR="$MLIP_LOCAL/tmp" # compiled models are unpacked and loaded from there, many small files
export MPICH_GPU_SUPPORT_ENABLED="1" # MPI from GPU memory; LAMMPS with Kokkos reads it, too
export NCCL_SOCKET_IFNAME="hsn" # NCCL finds its peers over Slingshot
export NCCL_DEBUG="WARN" # says why it stops; INFO shows whether the plugin is used
export NCCL_CROSS_NIC="1" # rings and trees may use all network cards
export NCCL_NET_GDR_LEVEL="PHB" # network cards read GPU memory on the same host bridge
export FI_MR_CACHE_MONITOR="userfaultfd" # the cache monitor NERSC sets for NCCL (Frontier's is kdreg2)
export FI_CXI_DISABLE_HOST_REGISTER="1" # avoids a deadlock between libfabric and CUDA
export LD_LIBRARY_PATH="/global/common/software/nersc9/nccl/2.19/plugin/lib:$LD_LIBRARY_PATH" # the plugin for NCCL over Slingshot (aws-ofi-nccl)
export TRITON_CACHE_DIR="$MLIP_LOCAL/cache/triton" # many small files that ranks of all nodes would write to one file system
export TORCHINDUCTOR_CACHE_DIR="$MLIP_LOCAL/cache/inductor" # what torch.compile and AOTInductor generate, many small files as well
export PYTORCH_KERNEL_CACHE_PATH="$MLIP_LOCAL/cache/kernels" # kernels that torch compiles while it runs, many small files as well
mkdir -p "$TMPDIR" "$TRITON_CACHE_DIR" "$TORCHINDUCTOR_CACHE_DIR" "$PYTORCH_KERNEL_CACHE_PATH"
# MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
export PATH="${MLIP_VENV:+$MLIP_VENV/bin:}${MLIP_VIEW:+$MLIP_VIEW/bin:}$PATH"
