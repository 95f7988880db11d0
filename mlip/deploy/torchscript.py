"""Compilation to ``.nequip.pth``: the recorded graph as a TorchScript program, from tensors by name to tensors by name.

The graph is recorded once with symbolic sizes and translated operation by operation. Nothing of the model's Python
code has to be scriptable, and the derivatives are part of the program.
"""

from __future__ import annotations

import io
import operator
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from mlip.deploy.targets import Target
from mlip.deploy.tracing import Program, trace

STAGE_PREFIX = "mlip_stage_"  # of the extra files that hold further programs

# these check sizes or mark them for a compiler; a program that runs needs neither
_ONLY_FOR_COMPILERS = (
    "_assert_scalar",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
    "_assert_tensor_metadata",
    "_assert_async",
)


def compile_torchscript(programs: Mapping[str, Program], metadata: Mapping[str, str], path: Path) -> None:
    """Translate programs and write them, the one called "model" with the metadata and the others inside.

    Args:
        programs: by name.
        metadata: strings to store.
        path: where to write; replaced in one step when all is done.
    """
    extra_files: dict[str, bytes] = {key: value.encode() for key, value in metadata.items()}
    for name, program in programs.items():
        if name != "model":
            buffer = io.BytesIO()
            torch.jit.save(_script(program), buffer)
            extra_files[STAGE_PREFIX + name] = buffer.getvalue()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        file = Path(folder) / path.name
        torch.jit.save(_script(programs["model"]), str(file), _extra_files=extra_files)
        file.replace(path)


def _script(program: Program) -> torch.jit.ScriptModule:
    translated = translate(trace(program, fusible=False), program.interface)
    return torch.jit.freeze(torch.jit.script(translated).eval())


def translate(graph_module: fx.GraphModule, target: Target) -> fx.GraphModule:
    """A graph of ATen operations on positional tensors -> scriptable code from dict to dict."""
    graph = graph_module.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    with graph.inserting_before(placeholders[0]):
        data = graph.placeholder("data", type_expr=dict[str, Tensor])
    for name, node in zip(target.inputs, placeholders, strict=True):
        with graph.inserting_before(node):
            item = graph.call_function(operator.getitem, (data, name))
        node.replace_all_uses_with(item)
        graph.erase_node(node)
    for node in list(graph.nodes):
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            _translate_operation(graph, node)
        elif node.op == "output":
            node.args = (dict(zip(target.outputs, node.args[0], strict=True)),)
    graph.eliminate_dead_code()
    graph.lint()
    graph_module.recompile()
    return graph_module


def _translate_operation(graph: fx.Graph, node: fx.Node) -> None:
    overload: Any = node.target
    name = overload.overloadpacket.__name__
    if name in _ONLY_FOR_COMPILERS:
        node.replace_all_uses_with(None)  # type: ignore[arg-type]
        graph.erase_node(node)
    elif name == "sym_size":
        _replace(graph, node, torch.ops.aten.size, node.args)
    elif name in ("_local_scalar_dense", "item"):
        _replace(graph, node, int, node.args)
    else:
        node.target = overload.overloadpacket


def _replace(graph: fx.Graph, node: fx.Node, function: Any, arguments: tuple[Any, ...]) -> None:
    with graph.inserting_before(node):
        replacement = graph.call_function(function, arguments)
    node.replace_all_uses_with(replacement)
    graph.erase_node(node)
