// SPDX-License-Identifier: MIT
//
// `*.nequip.pth`: a TorchScript archive with the metadata in its extra files, and the stages as archives
// there.

#include "torch_model.h"

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/script.h>

#include <sstream>

namespace mlip {

namespace {

class TorchScriptModel : public TorchModel {
 public:
  TorchScriptModel(const std::string &file, const CompileTarget &target, const DeviceRequest &request)
      : TorchModel(target, "TorchScript") {
    torch::jit::ExtraFilesMap entries;
    for (const auto &key : ModelMetadata::keys()) entries[key] = "";
    auto module = torch::jit::load(file, c10::kCPU, entries);
    accept(ModelMetadata::parse(file, entries), request);
    add(whole_model, std::move(module));
    // The numbers of atoms and edges change every step: specialise on their ranks, never on their values.
    torch::jit::FusionStrategy strategy{{torch::jit::FusionBehavior::DYNAMIC, 4}};
    torch::jit::setFusionStrategy(strategy);
  }

 protected:
  void load_parts(const std::vector<std::string> &parts) override {
    torch::jit::ExtraFilesMap archives;
    for (const auto &part : parts) archives["mlip_stage_" + part] = "";
    torch::jit::load(metadata().file, c10::kCPU, archives);
    for (const auto &part : parts) {
      std::istringstream archive(archives["mlip_stage_" + part]);
      add(part, torch::jit::load(archive, c10::kCPU));
    }
  }

  std::vector<at::Tensor> run(const std::string &part, NamedTensors named,
                              const std::vector<std::string> &outputs) override {
    c10::Dict<std::string, at::Tensor> inputs;
    for (auto &[name, tensor] : named) inputs.insert(name, std::move(tensor));
    const auto results =
        c10::impl::toTypedDict<std::string, at::Tensor>(parts_.at(part).forward({inputs}).toGenericDict());
    std::vector<at::Tensor> ordered;
    for (const auto &name : outputs) {
      if (!results.contains(name))
        throw ModelError("model file '" + metadata().file + "' does not return '" + name +
                         "': compile it again with nequip-compile");
      ordered.push_back(results.at(name).detach());
    }
    return ordered;
  }

 private:
  void add(const std::string &part, torch::jit::Module module) {
    module.to(device());
    module.eval();
    parts_.emplace(part, std::move(module));
  }

  std::map<std::string, torch::jit::Module> parts_;
};

} // namespace

std::unique_ptr<Model> open_torchscript(const std::string &file, const CompileTarget &target,
                                        const DeviceRequest &request) {
  return std::make_unique<TorchScriptModel>(file, target, request);
}

} // namespace mlip
