// SPDX-License-Identifier: MIT
//
// What models run by libtorch have in common: arrays to tensors, tensors to arrays, errors in one sentence.

#pragma once

#include "model.h"
#include "tensor_transfer.h"

#include <ATen/Tensor.h>
#include <c10/core/Device.h>

#include <functional>
#include <map>
#include <utility>

namespace mlip {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// The part of a file that holds the complete model; the others are named after the stages.
inline constexpr const char *whole_model = "model";

class TorchModel : public Model {
 public:
  const ModelMetadata &metadata() const override { return metadata_; }
  std::string description() const override;
  bool on_gpu() const override { return !device_.is_cpu(); }
  Prediction evaluate(const GraphView &graph) final;
  void load_stages() final;
  const double *forward(int layer, const GraphView &graph, const double *features) final;
  StageEnergy energy(const GraphView &graph, const double *features) final;
  StageGradient backward(int layer, const GraphView &graph, const double *features,
                         const double *adjoint) final;
  const std::vector<std::string> &output_names() const final;
  NamedOutput output(const std::string &name) final;
  std::optional<DeviceMemory> device_memory() const final;

 protected:
  TorchModel(const CompileTarget &target, std::string format)
      : target_(target), format_(std::move(format)), device_(c10::kCPU) {}

  /// Takes the metadata of a file, refusing what this machine or the target cannot use.
  void accept(ModelMetadata metadata, const DeviceRequest &request);

  /// Makes the parts of these names ready to run.
  virtual void load_parts(const std::vector<std::string> &parts) = 0;

  /// Runs a part; results in the order of `outputs`.
  virtual std::vector<at::Tensor> run(const std::string &part, NamedTensors inputs,
                                      const std::vector<std::string> &outputs) = 0;

  c10::Device device() const { return device_; }

 private:
  at::Tensor graph_tensor(const std::string &name, const GraphView &graph);
  const std::vector<at::Tensor> &run_stage(const std::string &part, const GraphView &graph,
                                           const double *features, int features_of, const double *adjoint,
                                           int adjoint_of, const std::vector<std::string> &outputs);
  void guarded(const GraphView &graph, const std::function<void()> &work);
  int width(int layer) const { return metadata_.layer_widths.at(static_cast<std::size_t>(layer) - 1); }

  CompileTarget target_;
  std::string format_;
  ModelMetadata metadata_;
  c10::Device device_;
  bool tf32_ = false;
  bool stages_loaded_ = false;
  TensorTransfer transfer_;
  NamedTensors stage_graph_;                                // what every stage takes, since forward(0)
  std::vector<at::Tensor> results_;                         // of the latest evaluate()
  std::map<std::string, std::vector<at::Tensor>> returned_; // results in the caller's space, by part
  std::map<std::string, at::Tensor> asked_; // outputs on the host, since the latest evaluate()
};

std::unique_ptr<Model> open_aotinductor(const std::string &file, const CompileTarget &target,
                                        const DeviceRequest &request);
std::unique_ptr<Model> open_torchscript(const std::string &file, const CompileTarget &target,
                                        const DeviceRequest &request);

/// The cause a torch exception names, in one line: without stack traces, of Python or of C++.
std::string first_line(const std::exception &error);

} // namespace mlip
