// SPDX-License-Identifier: MIT
//
// `*.nequip.pt2`: a model compiled ahead of time by torch's AOTInductor.

#include "torch_model.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace mlip {

namespace {

using torch::inductor::AOTIModelPackageLoader;

/// The folder the loader unpacks a package to, inside one of ours. Once a CPU model is loaded its files are
/// mapped and their names can go: LAMMPS ends runs with errors without destructors, and would leave them
/// behind.
class UnpackFolder {
 public:
  UnpackFolder() {
    if (const char *before = std::getenv("TMPDIR")) before_ = before;
    std::string name = (std::filesystem::temp_directory_path() / "mlip-XXXXXX").string();
    if (!mkdtemp(name.data())) return; // the loader will find out, and say so
    folder_ = name;
    setenv("TMPDIR", name.c_str(), 1);
  }
  ~UnpackFolder() {
    if (folder_.empty()) return;
    if (before_.empty())
      unsetenv("TMPDIR");
    else
      setenv("TMPDIR", before_.c_str(), 1);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  UnpackFolder(const UnpackFolder &) = delete;
  UnpackFolder &operator=(const UnpackFolder &) = delete;

 private:
  std::string before_;
  std::filesystem::path folder_;
};

class AotInductorModel : public TorchModel {
 public:
  AotInductorModel(const std::string &file, const CompileTarget &target, const DeviceRequest &request)
      : TorchModel(target, "AOTInductor") {
    // Read first, so that a file for another device is refused in our words and not in the loader's.
    accept(ModelMetadata::parse(file, AOTIModelPackageLoader::load_metadata_from_package(file, whole_model)),
           request);
    load_parts({whole_model});
  }

 protected:
  void load_parts(const std::vector<std::string> &parts) override {
    std::optional<UnpackFolder> unpacked;
    if (device().is_cpu()) unpacked.emplace(); // GPU kernels are read from the folder when they first run
    for (const auto &part : parts)             // one runner: one rank runs one step at a time
      parts_[part] = std::make_unique<AOTIModelPackageLoader>(
          metadata().file, part, /*run_single_threaded=*/true, /*num_runners=*/1, device().index());
  }

  std::vector<at::Tensor> run(const std::string &part, NamedTensors named,
                              const std::vector<std::string> & /*outputs*/) override {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> inputs;
    inputs.reserve(named.size());
    for (auto &[name, tensor] : named) inputs.push_back(std::move(tensor));
    return parts_.at(part)->boxed_run(std::move(inputs));
  }

 private:
  std::map<std::string, std::unique_ptr<AOTIModelPackageLoader>> parts_;
};

} // namespace

std::unique_ptr<Model> open_aotinductor(const std::string &file, const CompileTarget &target,
                                        const DeviceRequest &request) {
  return std::make_unique<AotInductorModel>(file, target, request);
}

} // namespace mlip
