-- rendered from recipes/sites/lumi/site.yaml by mlip job render
--
-- For work by hand on lumi: put it into a folder of `module use` as mlip/rocm-6.2.lua, then `module load mlip`.
help([[LUMI-G (CSC): 8 GCDs of AMD MI250X a node, Slingshot 11. Stack rocm-6.2: AMD GPUs (MI250X by default): Frontier's older environment, frozen for work that began on it.]])
whatis("Name: mlip")
whatis("Description: NequIP and Allegro potentials, training to LAMMPS")
family("mlip")

load("CrayEnv") -- Cray's programming environment without LUMI's own software on top
load("PrgEnv-gnu") -- Cray MPICH of GNU's compilers, of which the MPICH ABI is
load("craype-accel-amd-gfx90a") -- GPU transport (GTL) of Cray MPICH
load("rocm") -- ROCm of the programming environment; versions are LUMI's

local mlip_local = os.getenv("MLIP_LOCAL") or ("/tmp/mlip-" .. (os.getenv("USER") or "user"))
setenv("MLIP_LOCAL", mlip_local)
setenv("OMP_NUM_THREADS", "1") -- ranks share a node; the Frontier tutorial found one thread a rank faster
setenv("HYDRA_FULL_ERROR", "0") -- nequip-train says what is wrong in one sentence; 1 adds the traceback
setenv("WANDB_MODE", "offline") -- compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
setenv("TMPDIR", mlip_local .. "/tmp") -- compiled models are unpacked and loaded from there, many small files
setenv("MPICH_GPU_SUPPORT_ENABLED", "1") -- MPI from GPU memory; LAMMPS with Kokkos reads it, too
setenv("NCCL_SOCKET_IFNAME", "hsn") -- RCCL finds its peers over Slingshot, and sends over it where the plugin aws-ofi-rccl is not there
setenv("NCCL_NET_GDR_LEVEL", "3") -- network cards read GPU memory; the default from ROCm 6.2 on
setenv("NCCL_DEBUG", "WARN") -- says why it stops; INFO shows whether the plugin is used
setenv("TRITON_CACHE_DIR", mlip_local .. "/cache/triton") -- many small files that ranks of all nodes would write to one file system
setenv("TORCHINDUCTOR_CACHE_DIR", mlip_local .. "/cache/inductor") -- what torch.compile and AOTInductor generate, many small files as well
setenv("PYTORCH_KERNEL_CACHE_PATH", mlip_local .. "/cache/kernels") -- kernels that torch compiles while it runs, many small files as well
setenv("MIOPEN_USER_DB_PATH", mlip_local .. "/cache/miopen") -- MIOpen's database does not work on Lustre
setenv("MIOPEN_CUSTOM_CACHE_DIR", mlip_local .. "/cache/miopen") -- MIOpen's kernels, for the same reason as its database

-- MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
for _, name in ipairs({"MLIP_VIEW", "MLIP_VENV"}) do
  local folder = os.getenv(name)
  if folder then prepend_path("PATH", pathJoin(folder, "bin")) end
end
