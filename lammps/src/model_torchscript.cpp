// SPDX-License-Identifier: MIT
//
// `*.nequip.pth`: a TorchScript archive with the metadata in its extra files.

#include "torch_model.h"

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/script.h>

namespace mlip {

namespace {

class TorchScriptModel : public TorchModel {
 public:
  TorchScriptModel(const std::string &file, const CompileTarget &target, int rank_on_node)
      : TorchModel(target, "TorchScript") {
    torch::jit::ExtraFilesMap entries{
        {"r_max", ""},           {"type_names", ""},           {"model_dtype", ""},
        {"allow_tf32", ""},      {"per_edge_type_cutoff", ""}, {"num_threads", ""},
        {"AOTI_DEVICE_KEY", ""}, {"nequip_aoti_inputs", ""},   {"nequip_aoti_outputs", ""}};
    module_ = torch::jit::load(file, c10::kCPU, entries);
    accept(ModelMetadata::parse(file, entries), rank_on_node);
    module_.to(device());
    module_.eval();
    // The numbers of atoms and edges change every step: specialise on their ranks, never on their values.
    torch::jit::FusionStrategy strategy{{torch::jit::FusionBehavior::DYNAMIC, 4}};
    torch::jit::setFusionStrategy(strategy);
  }

 protected:
  std::vector<at::Tensor> run(NamedTensors named) override {
    c10::Dict<std::string, at::Tensor> inputs;
    for (auto &[name, tensor] : named) inputs.insert(name, std::move(tensor));
    const auto results =
        c10::impl::toTypedDict<std::string, at::Tensor>(module_.forward({inputs}).toGenericDict());
    std::vector<at::Tensor> ordered;
    for (const auto &name : output_names()) {
      if (!results.contains(name))
        throw ModelError("model file '" + metadata().file + "' does not return '" + name +
                         "': compile it again with nequip-compile");
      ordered.push_back(results.at(name).detach());
    }
    return ordered;
  }

 private:
  torch::jit::Module module_;
};

} // namespace

std::unique_ptr<Model> open_torchscript(const std::string &file, const CompileTarget &target,
                                        int rank_on_node) {
  return std::make_unique<TorchScriptModel>(file, target, rank_on_node);
}

} // namespace mlip
