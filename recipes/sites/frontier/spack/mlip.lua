-- rendered from recipes/sites/frontier/site.yaml by mlip job render
--
-- For work by hand on frontier: put it into a folder of `module use` as mlip/rocm-6.4.lua, then `module load mlip`.
help([[Frontier (OLCF): 8 GCDs of AMD MI250X a node, Slingshot 11, node-local NVMe. Stack rocm-6.4: AMD GPUs (MI250X by default): an environment that Frontier recommends.]])
whatis("Name: mlip")
whatis("Description: NequIP and Allegro potentials, training to LAMMPS")
family("mlip")

load("PrgEnv-gnu") -- the compilers that OLCF's page on PyTorch uses
load("cpe/25.09") -- the programming environment the stack was matched to
load("rocm/6.4.2") -- the ROCm of the stack
load("craype-accel-amd-gfx90a") -- GPU transport (GTL) of Cray MPICH

local mlip_local = os.getenv("MLIP_LOCAL") or ("/tmp/mlip-" .. (os.getenv("USER") or "user"))
setenv("MLIP_LOCAL", mlip_local)
setenv("OMP_NUM_THREADS", "1") -- ranks share a node; the Frontier tutorial found one thread a rank faster
setenv("HYDRA_FULL_ERROR", "0") -- nequip-train says what is wrong in one sentence; 1 adds the traceback
setenv("WANDB_MODE", "offline") -- compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
setenv("TMPDIR", mlip_local .. "/tmp") -- compiled models are unpacked and loaded from there, many small files
prepend_path("LD_LIBRARY_PATH", (os.getenv("CRAY_LD_LIBRARY_PATH") or "")) -- with a programming environment that is not the default, libraries are found through it only
setenv("MPICH_GPU_SUPPORT_ENABLED", "1") -- MPI from GPU memory; LAMMPS with Kokkos reads it, too. MPI aborts if the GTL library is not loaded
setenv("GLOO_SOCKET_IFNAME", "hsn0") -- Slingshot; gloo would take the first card it finds
setenv("TRITON_CACHE_DIR", mlip_local .. "/cache/triton") -- many small files that ranks of all nodes would write to one file system
setenv("TORCHINDUCTOR_CACHE_DIR", mlip_local .. "/cache/inductor") -- what torch.compile and AOTInductor generate, many small files as well
setenv("PYTORCH_KERNEL_CACHE_PATH", mlip_local .. "/cache/kernels") -- kernels that torch compiles while it runs, many small files as well
setenv("MIOPEN_USER_DB_PATH", mlip_local .. "/cache/miopen") -- MIOpen's database does not work on Orion; disk errors otherwise
setenv("MIOPEN_CUSTOM_CACHE_DIR", mlip_local .. "/cache/miopen") -- MIOpen's kernels, for the same reason as its database

-- MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
for _, name in ipairs({"MLIP_VIEW", "MLIP_VENV"}) do
  local folder = os.getenv(name)
  if folder then prepend_path("PATH", pathJoin(folder, "bin")) end
end
