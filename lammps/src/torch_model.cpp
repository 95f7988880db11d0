// SPDX-License-Identifier: MIT

#include "torch_model.h"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <fstream>

namespace mlip {

namespace {

/// CUDA where the file asks for it, or where it runs anywhere and there is a GPU.
c10::Device choose_device(const ModelMetadata &metadata, int rank_on_node) {
  const bool wants_cpu = metadata.device.starts_with("cpu");
  const int gpus = static_cast<int>(torch::cuda::device_count());
  if (wants_cpu || (metadata.device.empty() && gpus == 0)) return c10::kCPU;
  if (!metadata.device.empty() && !metadata.device.starts_with("cuda"))
    throw ModelError("model file '" + metadata.file + "' was compiled for the device '" + metadata.device +
                     "': compile it with nequip-compile --device cpu or --device cuda");
  if (gpus == 0)
    throw ModelError("model file '" + metadata.file +
                     "' was compiled for a GPU, but there is none that torch can "
                     "use here: compile it with nequip-compile --device cpu");
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(rank_on_node % gpus)};
}

/// Running code for AVX512 on a machine without it ends in an illegal instruction, far from the cause.
void require_cpu_isa([[maybe_unused]] const ModelMetadata &metadata) {
#ifdef __x86_64__
  const auto needs = [&](const char *isa) { return metadata.cpu_isa.find(isa) != std::string::npos; };
  if ((needs("AVX512") && !__builtin_cpu_supports("avx512f")) ||
      (needs("AVX2") && !__builtin_cpu_supports("avx2")))
    throw ModelError("model file '" + metadata.file + "' was compiled for a CPU with " + metadata.cpu_isa +
                     ", which this one lacks: compile it on this machine");
#endif
}

at::Tensor to_host(const at::Tensor &result) {
  return result.to(at::kCPU, at::kDouble).contiguous();
}

} // namespace

std::string first_line(const std::exception &error) {
  std::string text = error.what();
  // TorchScript puts its traceback first and the cause last.
  const std::string cause = "\nRuntimeError: ";
  if (const auto found = text.rfind(cause); found != std::string::npos)
    text = text.substr(found + cause.size());
  const auto begin = text.find_first_not_of(" \n");
  if (begin == std::string::npos) return "unknown error";
  text = text.substr(begin);
  return text.substr(0, text.find('\n'));
}

std::unique_ptr<Model> Model::open(const std::string &file, const CompileTarget &target, int rank_on_node) {
  const bool script = file.ends_with(".nequip.pth");
  if (!script && !file.ends_with(".nequip.pt2"))
    throw ModelError("'" + file +
                     "' is not a compiled model: expected a file named *.nequip.pt2 or *.nequip.pth, "
                     "as nequip-compile writes them");
  if (!std::ifstream(file).good())
    throw ModelError("cannot read model file '" + file +
                     "': no such file, or no permission; relative names start at "
                     "the folder LAMMPS was started in");
  try {
    return script ? open_torchscript(file, target, rank_on_node)
                  : open_aotinductor(file, target, rank_on_node);
  } catch (const ModelError &) {
    throw;
  } catch (const std::exception &error) {
    throw ModelError("torch " TORCH_VERSION " cannot load model file '" + file + "': " + first_line(error));
  }
}

void TorchModel::accept(ModelMetadata metadata, int rank_on_node) {
  metadata.require(target_);
  metadata_ = std::move(metadata);
  device_ = choose_device(metadata_, rank_on_node);
  if (device_.is_cpu()) require_cpu_isa(metadata_);
  if (device_.is_cuda()) at::globalContext().setAllowTF32CuBLAS(metadata_.allow_tf32);
}

std::string TorchModel::description() const {
  return format_ + " on " + device_.str();
}

const std::vector<std::string> &TorchModel::output_names() const {
  return metadata_.outputs.empty() ? target_.outputs : metadata_.outputs;
}

NamedTensors TorchModel::inputs(AtomGraph &graph) const {
  const auto f64 = at::TensorOptions(at::kDouble);
  const auto i64 = at::TensorOptions(at::kLong);
  const auto n = graph.num_atoms(), e = graph.num_edges();
  NamedTensors tensors;
  for (const auto &name : metadata_.inputs.empty() ? target_.inputs : metadata_.inputs) {
    at::Tensor tensor;
    if (name == "pos")
      tensor = at::from_blob(graph.positions(), {n, 3}, f64);
    else if (name == "edge_index")
      tensor = at::from_blob(graph.edge_index(), {2, e}, i64);
    else if (name == "atom_types")
      tensor = at::from_blob(graph.types(), {n}, i64);
    else if (name == "cell")
      tensor = at::from_blob(graph.cell, {1, 3, 3}, f64);
    else if (name == "edge_cell_shift")
      tensor = at::from_blob(graph.shifts(), {e, 3}, f64);
    else
      throw ModelError("model file '" + metadata_.file + "' takes '" + name +
                       "', which LAMMPS does not have");
    tensors.emplace_back(name, tensor.to(device_));
  }
  return tensors;
}

Prediction TorchModel::evaluate(AtomGraph &graph) {
  try {
    // Ranks that share a node each have their own GPU, which need not be torch's current one.
    const c10::DeviceGuard guard(device_);
    const auto results = run(inputs(graph));
    const auto &names = output_names();
    if (results.size() < names.size())
      throw ModelError("model file '" + metadata_.file + "' returned " + std::to_string(results.size()) +
                       " results, but lists " + std::to_string(names.size()));
    for (std::size_t k = 0; k < names.size(); ++k) {
      if (names[k] == "atomic_energy") atomic_energy_ = to_host(results[k]);
      if (names[k] == "forces") forces_ = to_host(results[k]);
      if (names[k] == "virial") virial_ = to_host(results[k]);
    }
  } catch (const ModelError &) {
    throw;
  } catch (const std::exception &error) {
    throw ModelError("model file '" + metadata_.file + "' failed to run: " + first_line(error));
  }
  const auto n = graph.num_atoms();
  if (atomic_energy_.numel() != n || forces_.numel() != 3 * n || virial_.numel() != 9)
    throw ModelError("model file '" + metadata_.file +
                     "' returned energies, forces or a virial of the wrong shape: "
                     "compile it for LAMMPS with nequip-compile --target " +
                     target_.name);
  return {atomic_energy_.const_data_ptr<double>(), forces_.const_data_ptr<double>(),
          virial_.const_data_ptr<double>()};
}

} // namespace mlip
