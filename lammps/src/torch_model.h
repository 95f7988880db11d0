// SPDX-License-Identifier: MIT
//
// What models run by libtorch have in common: tensors in, tensors out, errors in one sentence.

#pragma once

#include "model.h"

#include <ATen/Tensor.h>
#include <c10/core/Device.h>

#include <utility>

namespace mlip {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

class TorchModel : public Model {
 public:
  const ModelMetadata &metadata() const override { return metadata_; }
  std::string description() const override;
  Prediction evaluate(AtomGraph &graph) final;

 protected:
  TorchModel(const CompileTarget &target, std::string format)
      : target_(target), format_(std::move(format)), device_(c10::kCPU) {}

  /// Takes the metadata of a file, refusing what this machine or the target cannot use.
  void accept(ModelMetadata metadata, int rank_on_node);

  /// Results in the order of `output_names()`.
  virtual std::vector<at::Tensor> run(NamedTensors inputs) = 0;

  const std::vector<std::string> &output_names() const;
  c10::Device device() const { return device_; }

 private:
  NamedTensors inputs(AtomGraph &graph) const;

  CompileTarget target_;
  std::string format_;
  ModelMetadata metadata_;
  c10::Device device_;
  at::Tensor atomic_energy_, forces_, virial_;
};

std::unique_ptr<Model> open_aotinductor(const std::string &file, const CompileTarget &target,
                                        int rank_on_node);
std::unique_ptr<Model> open_torchscript(const std::string &file, const CompileTarget &target,
                                        int rank_on_node);

/// The cause a torch exception names, in one line: without stack traces, of Python or of C++.
std::string first_line(const std::exception &error);

} // namespace mlip
