// SPDX-License-Identifier: MIT

#include "model_metadata.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace mlip {

namespace {

using Entries = std::unordered_map<std::string, std::string>;

std::string optional(const Entries &entries, const std::string &key) {
  const auto found = entries.find(key);
  return found == entries.end() ? std::string() : found->second;
}

std::string required(const std::string &file, const Entries &entries, const std::string &key) {
  const std::string value = optional(entries, key);
  if (value.empty())
    throw ModelError("model file '" + file + "' has no entry '" + key +
                     "': write it with nequip-compile, which adds what LAMMPS needs");
  return value;
}

double number(const std::string &file, const std::string &key, const std::string &text) {
  std::size_t used = 0;
  double value = 0.0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception &) {
    used = 0;
  }
  if (used == 0 || used != text.size() || !(value >= 0.0))
    throw ModelError("entry '" + key + "' of model file '" + file + "' is '" + text +
                     "', which is not a number of at least 0: compile the model again");
  return value;
}

/// The string under a key of a JSON object. The values asked for come first in what nequip-compile writes,
/// before the model's config, whose keys could be the same.
std::string json_string(const std::string &json, const std::string &key) {
  auto at = json.find('"' + key + '"');
  if (at == std::string::npos) return {};
  at += key.size() + 2;
  while (at < json.size() && (json[at] == ':' || std::isspace(static_cast<unsigned char>(json[at])))) ++at;
  if (at >= json.size() || json[at] != '"') return {};
  std::string value;
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] == '\\' && at + 1 < json.size()) ++at;
    value += json[at];
  }
  return value;
}

bool contains(const std::vector<std::string> &words, const std::string &word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

} // namespace

std::vector<std::string> split_words(const std::string &text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::string join_words(const std::vector<std::string> &words) {
  std::string text;
  for (const auto &word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

ModelMetadata ModelMetadata::parse(const std::string &file, const Entries &entries) {
  ModelMetadata m;
  m.file = file;
  m.type_names = split_words(required(file, entries, "type_names"));
  m.r_max = number(file, "r_max", required(file, entries, "r_max"));
  m.dtype = optional(entries, "model_dtype");
  m.allow_tf32 = optional(entries, "allow_tf32") == "1";
  m.device = optional(entries, "AOTI_DEVICE_KEY");
  m.cpu_isa = optional(entries, "AOTI_CPU_ISA");
  m.threads = optional(entries, "num_threads");
  m.inputs = split_words(optional(entries, "nequip_aoti_inputs"));
  m.outputs = split_words(optional(entries, "nequip_aoti_outputs"));

  m.has_ghost_types = optional(entries, "mlip_ghost_types") == "1";
  m.has_stages = optional(entries, "mlip_stages") == "1";
  m.provenance = optional(entries, "mlip_provenance");
  const std::string layers = optional(entries, "mlip_num_layers");
  if (!layers.empty()) m.num_layers = static_cast<int>(number(file, "mlip_num_layers", layers));
  for (const auto &width : split_words(optional(entries, "mlip_layer_widths")))
    m.layer_widths.push_back(static_cast<int>(number(file, "mlip_layer_widths", width)));
  if (m.has_stages && static_cast<int>(m.layer_widths.size()) != m.num_layers - 1)
    throw ModelError("model file '" + file + "' has " + std::to_string(m.layer_widths.size()) +
                     " layer widths for " + std::to_string(m.num_layers) +
                     " layers: compile the model again");
  const auto memory = split_words(optional(entries, "mlip_memory"));
  if (memory.size() == 2) {
    m.bytes_per_atom = number(file, "mlip_memory", memory[0]);
    m.bytes_per_edge = number(file, "mlip_memory", memory[1]);
  }

  const std::size_t pairs = m.type_names.size() * m.type_names.size();
  const auto cutoffs = split_words(optional(entries, "per_edge_type_cutoff"));
  if (cutoffs.empty()) {
    m.edge_cutoff.assign(pairs, m.r_max);
  } else if (cutoffs.size() != pairs) {
    throw ModelError("model file '" + file + "' has " + std::to_string(cutoffs.size()) +
                     " per-edge-type cutoffs for " + std::to_string(m.type_names.size()) +
                     " types: compile the model again");
  } else {
    for (const auto &text : cutoffs) m.edge_cutoff.push_back(number(file, "per_edge_type_cutoff", text));
  }
  return m;
}

const std::vector<std::string> &ModelMetadata::keys() {
  static const std::vector<std::string> names{"r_max",
                                              "type_names",
                                              "model_dtype",
                                              "allow_tf32",
                                              "per_edge_type_cutoff",
                                              "num_threads",
                                              "nequip_aoti_inputs",
                                              "nequip_aoti_outputs",
                                              "AOTI_DEVICE_KEY",
                                              "AOTI_CPU_ISA",
                                              "mlip_ghost_types",
                                              "mlip_num_layers",
                                              "mlip_layer_widths",
                                              "mlip_stages",
                                              "mlip_memory",
                                              "mlip_provenance"};
  return names;
}

int ModelMetadata::type_index(const std::string &name) const {
  const auto found = std::find(type_names.begin(), type_names.end(), name);
  return found == type_names.end() ? -1 : static_cast<int>(found - type_names.begin());
}

std::string ModelMetadata::provenance_line() const {
  std::string line;
  const auto add = [&](const std::string &prefix, const std::string &value) {
    if (!value.empty()) line += (line.empty() ? "" : ", ") + prefix + value;
  };
  add("mlip ", json_string(provenance, "mlip"));
  add("torch ", json_string(provenance, "torch"));
  add("", json_string(provenance, "date"));
  add("from ", json_string(provenance, "source"));
  return line;
}

void ModelMetadata::require(const CompileTarget &target) const {
  const std::string cure = ": compile it for LAMMPS with nequip-compile --target " + target.name;
  // Files written before nequip 0.17 do not list their fields; a mismatch then shows when the model runs.
  if (!inputs.empty()) {
    bool same = inputs.size() == target.inputs.size();
    for (const auto &name : target.inputs) same = same && contains(inputs, name);
    if (!same)
      throw ModelError("model file '" + file + "' was compiled for another target (it takes " +
                       join_words(inputs) + ")" + cure);
  }
  if (!outputs.empty()) {
    for (const auto &name : target.outputs)
      if (!contains(outputs, name))
        throw ModelError("model file '" + file + "' was compiled for another target (it returns " +
                         join_words(outputs) + ", but no " + name + ")" + cure);
  }
}

} // namespace mlip
