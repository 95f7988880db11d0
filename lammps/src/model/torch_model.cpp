// SPDX-License-Identifier: MIT

#include "torch_model.h"

#include "torch_device.h"

#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <algorithm>
#include <fstream>
#include <new>

namespace mlip {

namespace {

bool is_out_of_memory(const std::exception &error) {
  if (dynamic_cast<const c10::OutOfMemoryError *>(&error)) return true;
  if (dynamic_cast<const std::bad_alloc *>(&error)) return true;
  const std::string text = error.what(); // compiled code hands its errors on as text
  return text.find("out of memory") != std::string::npos ||
         text.find("can't allocate memory") != std::string::npos;
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

std::unique_ptr<Model> Model::open(const std::string &file, const CompileTarget &target,
                                   const DeviceRequest &request) {
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
    return script ? open_torchscript(file, target, request) : open_aotinductor(file, target, request);
  } catch (const ModelError &) {
    throw;
  } catch (const std::exception &error) {
    throw ModelError("torch " TORCH_VERSION " cannot load model file '" + file + "': " + first_line(error));
  }
}

void TorchModel::accept(ModelMetadata metadata, const DeviceRequest &request) {
  metadata.require(target_);
  metadata_ = std::move(metadata);
  device_ = choose_device(metadata_, request);
  tf32_ = request.tf32.value_or(metadata_.allow_tf32);
  transfer_.set_device(device_);
}

std::string TorchModel::description() const {
  return format_ + " on " + device_.str() + (device_.is_cpu() ? "" : tf32_ ? ", TF32" : ", no TF32");
}

const std::vector<std::string> &TorchModel::output_names() const {
  return metadata_.outputs.empty() ? target_.outputs : metadata_.outputs;
}

std::optional<DeviceMemory> TorchModel::device_memory() const {
  return memory_of(device_);
}

void TorchModel::guarded(const GraphView &graph, const std::function<void()> &work) {
  if (graph.space == Space::device && device_.is_cpu())
    throw ModelError("model file '" + metadata_.file +
                     "' runs on the CPU and was given memory of a GPU: compile it with nequip-compile "
                     "--device cuda");
  try {
    // Ranks that share a node each have their own GPU, which need not be torch's current one.
    const c10::DeviceGuard guard(device_);
    if (device_.is_cuda()) at::globalContext().setAllowTF32CuBLAS(tf32_); // other models may have set it
    work();
    transfer_.wait();
  } catch (const ModelError &) {
    throw;
  } catch (const std::exception &error) {
    if (is_out_of_memory(error))
      throw ModelError(
          "the memory of " + device_.str() + " does not hold the evaluation of " +
          std::to_string(graph.num_atoms) + " atoms and " + std::to_string(graph.num_edges) +
          " edges, ghosts included: use more MPI ranks (on GPUs: more GPUs) or a smaller system");
    throw ModelError("model file '" + metadata_.file + "' failed to run: " + first_line(error));
  }
}

at::Tensor TorchModel::graph_tensor(const std::string &name, const GraphView &graph) {
  const auto n = graph.num_atoms, e = graph.num_edges;
  if (name == "pos") return transfer_.to_device(name, graph.position, {n, 3}, at::kDouble, graph.space);
  if (name == "edge_index")
    return transfer_.to_device(name, graph.edge_index, {2, e}, at::kLong, graph.space);
  if (name == "atom_types") return transfer_.to_device(name, graph.type, {n}, at::kLong, graph.space);
  if (name == "cell") {
    static const double no_cell[9] = {1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0};
    return transfer_.to_device(name, graph.cell ? graph.cell : no_cell, {1, 3, 3}, at::kDouble, Space::host);
  }
  if (name == "edge_cell_shift")
    return graph.edge_cell_shift
               ? transfer_.to_device(name, graph.edge_cell_shift, {e, 3}, at::kDouble, graph.space)
               : transfer_.zeros(e);
  throw ModelError("model file '" + metadata_.file + "' takes '" + name + "', which LAMMPS does not have");
}

Prediction TorchModel::evaluate(const GraphView &graph) {
  const auto &names = output_names();
  const auto n = graph.num_atoms, e = graph.num_edges;
  Prediction prediction;
  guarded(graph, [&] {
    NamedTensors inputs;
    for (const auto &name : metadata_.inputs.empty() ? target_.inputs : metadata_.inputs)
      inputs.emplace_back(name, graph_tensor(name, graph));
    asked_.clear();
    results_ = run(whole_model, std::move(inputs), names);
    if (results_.size() < names.size())
      throw ModelError("model file '" + metadata_.file + "' returned " + std::to_string(results_.size()) +
                       " results, but lists " + std::to_string(names.size()));
    auto &returned = returned_[whole_model];
    returned.clear();
    const auto take = [&](std::size_t k, std::int64_t size) {
      if (results_[k].numel() != size)
        throw ModelError("model file '" + metadata_.file + "' returned '" + names[k] +
                         "' of the wrong shape: compile it for LAMMPS with nequip-compile --target " +
                         target_.name);
      returned.push_back(transfer_.to_space(names[k], results_[k], graph.space));
      return returned.back().const_data_ptr<double>();
    };
    for (std::size_t k = 0; k < names.size(); ++k) {
      if (names[k] == "atomic_energy") prediction.atomic_energy = take(k, n);
      if (names[k] == "forces") prediction.forces = take(k, 3 * n);
      if (names[k] == "virial") prediction.virial = take(k, 9);
      if (names[k] == "edge_forces") prediction.edge_forces = take(k, 3 * e);
    }
  });
  return prediction;
}

NamedOutput TorchModel::output(const std::string &name) {
  const auto &names = output_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end() || results_.empty())
    throw ModelError("model file '" + metadata_.file + "' has no output '" + name + "': it has " +
                     join_words(names));
  auto [entry, is_new] = asked_.try_emplace(name);
  if (is_new) {
    const auto &result = results_[static_cast<std::size_t>(found - names.begin())];
    entry->second = result.detach().to(at::kCPU, at::kDouble).contiguous();
  }
  return {entry->second.const_data_ptr<double>(), entry->second.numel()};
}

// Layer by layer
// -----------------------------------------------------------------------------------------------

void TorchModel::load_stages() {
  if (stages_loaded_) return;
  if (!has_stages())
    throw ModelError("model file '" + metadata_.file +
                     "' has no stages to run layer by layer: compile it with nequip-compile --target " +
                     target_.name);
  std::vector<std::string> parts{"energy"};
  for (int layer = 0; layer + 1 < metadata_.num_layers; ++layer) {
    parts.push_back("forward_" + std::to_string(layer));
    parts.push_back("backward_" + std::to_string(layer));
  }
  try {
    load_parts(parts);
  } catch (const std::exception &error) {
    throw ModelError("torch " TORCH_VERSION " cannot load the stages of model file '" + metadata_.file +
                     "': " + first_line(error));
  }
  stages_loaded_ = true;
}

const std::vector<at::Tensor> &TorchModel::run_stage(const std::string &part, const GraphView &graph,
                                                     const double *features, int features_of,
                                                     const double *adjoint, int adjoint_of,
                                                     const std::vector<std::string> &outputs) {
  load_stages();
  auto &returned = returned_[part];
  guarded(graph, [&] {
    NamedTensors inputs = stage_graph_;
    const auto n = graph.num_atoms;
    if (features)
      inputs.emplace_back("features", transfer_.to_device("features", features, {n, width(features_of)},
                                                          at::kDouble, graph.space));
    if (adjoint)
      inputs.emplace_back("adjoint", transfer_.to_device("adjoint", adjoint, {n, width(adjoint_of)},
                                                         at::kDouble, graph.space));
    const auto results = run(part, std::move(inputs), outputs);
    if (results.size() != outputs.size())
      throw ModelError("stage '" + part + "' of model file '" + metadata_.file + "' returned " +
                       std::to_string(results.size()) + " results instead of " +
                       std::to_string(outputs.size()) + ": compile the model again");
    returned.clear();
    for (std::size_t k = 0; k < outputs.size(); ++k)
      returned.push_back(transfer_.to_space(part + " " + outputs[k], results[k], graph.space));
  });
  return returned;
}

const double *TorchModel::forward(int layer, const GraphView &graph, const double *features) {
  if (layer == 0)
    guarded(graph, [&] {
      stage_graph_.clear();
      for (const char *name : {"pos", "edge_index", "atom_types"})
        stage_graph_.emplace_back(name, graph_tensor(name, graph));
    });
  return run_stage("forward_" + std::to_string(layer), graph, features, layer, nullptr, 0, {"features"})[0]
      .const_data_ptr<double>();
}

StageEnergy TorchModel::energy(const GraphView &graph, const double *features) {
  const auto &results = run_stage("energy", graph, features, metadata_.num_layers - 1, nullptr, 0,
                                  {"atomic_energy", "adjoint", "edge_forces"});
  return {results[0].const_data_ptr<double>(), results[1].const_data_ptr<double>(),
          results[2].const_data_ptr<double>()};
}

StageGradient TorchModel::backward(int layer, const GraphView &graph, const double *features,
                                   const double *adjoint) {
  const std::string part = "backward_" + std::to_string(layer);
  if (layer == 0)
    return {nullptr,
            run_stage(part, graph, nullptr, 0, adjoint, 1, {"edge_forces"})[0].const_data_ptr<double>()};
  const auto &results =
      run_stage(part, graph, features, layer, adjoint, layer + 1, {"adjoint", "edge_forces"});
  return {results[0].const_data_ptr<double>(), results[1].const_data_ptr<double>()};
}

} // namespace mlip
