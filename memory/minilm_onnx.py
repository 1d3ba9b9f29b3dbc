"""MiniLM's weights as an ONNX graph: BERT with six layers, operation by operation; `memory.fetch` runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, save

Array = NDArray[Any]


def weights(file: Path) -> dict[str, Array]:
    """The tensors of a safetensors file: a length, a JSON header of that length, the numbers."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = dict[str, Array]()
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            low, high = (start + offset for offset in about["data_offsets"])
            tensors[name.removeprefix("bert.")] = np.frombuffer(data[low:high], "<f4").reshape(about["shape"])
    return tensors


class Graph:
    """Nodes and constants, collected; each operation answers the name of its result."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._tensors = tensors

    def constant(self, name: str, value: Any) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self._tensors[name])

    def do(self, operation: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x: str, name: str) -> str:
        matrix = self.constant(f"{name}.matrix", self._tensors[f"{name}.weight"].T.copy())
        return self.do("Add", self.do("MatMul", x, matrix), self.weight(f"{name}.bias"))

    def normalised(self, x: str, name: str, epsilon: float) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.do("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)


def embedded(g: Graph, epsilon: float) -> str:
    """Words, their places and their part of the text, as vectors."""
    words = g.do("Gather", g.weight("embeddings.word_embeddings.weight"), "input_ids")
    types = g.do("Gather", g.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
    length = g.do("Gather", g.do("Shape", "input_ids"), g.constant("one", np.int64(1)), axis=0)
    places = g.do("Range", g.constant("zero", np.int64(0)), length, g.constant("one", np.int64(1)))
    positions = g.do("Gather", g.weight("embeddings.position_embeddings.weight"), places)
    return g.normalised(g.do("Add", g.do("Add", words, types), positions), "embeddings.LayerNorm", epsilon)


def mask(g: Graph) -> str:
    """A large negative number wherever a text has been padded."""
    kept = g.do("Cast", "attention_mask", to=TensorProto.FLOAT)
    kept = g.do("Unsqueeze", kept, g.constant("axes", np.array([1, 2], np.int64)))
    return g.do("Mul", g.do("Sub", g.constant("1.0", np.float32(1)), kept), g.constant("never", np.float32(-1e9)))


def attention(g: Graph, x: str, layer: str, masked: str, config: dict[str, Any]) -> str:
    heads, size = config["num_attention_heads"], config["hidden_size"]
    split = g.constant("split", np.array([0, 0, heads, size // heads], np.int64))
    whole = g.constant("whole", np.array([0, 0, size], np.int64))
    scale = g.constant("scale", np.float32(1 / np.sqrt(size // heads)))

    def part(name: str, order: list[int]) -> str:
        return g.do("Transpose", g.do("Reshape", g.linear(x, f"{layer}.attention.self.{name}"), split), perm=order)

    query, key, value = part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), part("value", [0, 2, 1, 3])
    scores = g.do("Add", g.do("Mul", g.do("MatMul", query, key), scale), masked)
    mixed = g.do("MatMul", g.do("Softmax", scores, axis=-1), value)
    return g.do("Reshape", g.do("Transpose", mixed, perm=[0, 2, 1, 3]), whole)


def gelu(g: Graph, x: str) -> str:
    curve = g.do("Erf", g.do("Mul", x, g.constant("root", np.float32(1 / np.sqrt(2)))))
    half = g.do("Mul", x, g.constant("half", np.float32(0.5)))
    return g.do("Mul", half, g.do("Add", curve, g.constant("1.0", np.float32(1))))


def model(tensors: dict[str, Array], config: dict[str, Any]) -> Any:
    """The whole network, from token numbers to the vectors of its last layer."""
    g, epsilon = Graph(tensors), config["layer_norm_eps"]
    x, masked = embedded(g, epsilon), mask(g)
    for n in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{n}"
        mixed = g.linear(attention(g, x, layer, masked, config), f"{layer}.attention.output.dense")
        x = g.normalised(g.do("Add", mixed, x), f"{layer}.attention.output.LayerNorm", epsilon)
        inner = g.linear(gelu(g, g.linear(x, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        x = g.normalised(g.do("Add", inner, x), f"{layer}.output.LayerNorm", epsilon)
    g.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in names]
    shape = ["texts", "tokens", config["hidden_size"]]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)
    graph = helper.make_graph(g.nodes, "minilm", inputs, [output], list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    made = model(weights(source / "model.safetensors"), json.loads((source / "config.json").read_text()))
    checker.check_model(made)
    save(made, target)


if __name__ == "__main__":
    main()
