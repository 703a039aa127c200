"""Draws docs/images/converted_graph.svg: a graph before and after its conversion.

    .venv/bin/python docs/images/draw_converted_graph.py [OUT.svg]

The model is the multilayer perceptron of section 3 of the TF-TRT user guide, with random weights. It is converted here and now with
TF_TRT_EXPORT_GRAPH_VIZ_PATH set, and what is drawn is read from the two files that this writes: nothing is laid out by hand. (Graphviz
draws the same files: `dot -Tsvg`; this drawing needs no Graphviz.)
"""

import dataclasses
import os
import pathlib
import sys
import tempfile
from xml.sax.saxutils import escape

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

OUT = pathlib.Path(__file__).with_name("converted_graph.svg")
# The reader of Graphviz's language is that of the tests.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "python"))

import dot_file

WIDTH, HEIGHT, GAP = 210, 28, 20
LEFT, RIGHT, NOTE, TOP = 70, 420, 650, 92
ENGINE_NAME = "TRTEngineOp_000_000"
PASSES_THROUGH = ("Identity", "Snapshot", "StopGradient")


@dataclasses.dataclass
class Node:
    op: str
    label: str
    inputs: list[str]


# --- the two graphs ---------------------------------------------------------------------------------------------------


def convert() -> tuple[dot_file.Graph, dot_file.Graph, object]:
    """The drawings before and after the conversion, as read from their files, and the converted function."""
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    import tensorflow as tf
    import tftrt  # noqa: F401  (loads the library)

    # Biases that are zero would be folded away, BiasAdd and all.
    bias = tf.keras.initializers.RandomNormal(seed=1)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((28, 28)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(128, activation="relu", bias_initializer=bias),
            tf.keras.layers.Dropout(0.2),
            tf.keras.layers.Dense(10, bias_initializer=bias),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        model.export(f"{folder}/model", verbose=False)
        os.environ["TF_TRT_EXPORT_GRAPH_VIZ_PATH"] = f"{folder}/graph.dot"
        converted = trt.TrtGraphConverterV2(input_saved_model_dir=f"{folder}/model").convert()
        before, after = (dot_file.read(pathlib.Path(folder, f"graph.{when}.dot").read_text()) for when in ("before", "after"))
    return before, after, converted


def nodes_of(graph: dot_file.Graph) -> dict[str, Node]:
    """The nodes of a drawing by name, in its order, which is a topological one; inputs are names of nodes."""
    nodes = {}
    for name, about in graph.all_nodes().items():
        # The label is the op, and under it type and shape; the shape is enough here.
        shape = about["label"].split("\\n")[-1].partition(" ")[2].replace(",", ", ")
        label = f"{about['op']} {shape}".strip()
        # Dashed edges only order nodes.
        nodes[name] = Node(about["op"], label, [a for a, b, style in graph.edges if b == name and not style])
    return {name: node for name, node in nodes.items() if node.op != "NoOp"}


def flowing(nodes: dict[str, Node]) -> dict[str, Node]:
    """No node that hands its input on, but for the graph's result. (Constants are not in the drawings.)"""
    taken = {i for node in nodes.values() for i in node.inputs}

    def source(name: str) -> str:
        while nodes[name].op in PASSES_THROUGH and nodes[name].inputs:
            name = nodes[name].inputs[0]
        return name

    return {
        name: dataclasses.replace(node, inputs=list(dict.fromkeys(source(i) for i in node.inputs)))
        for name, node in nodes.items()
        if node.op not in PASSES_THROUGH or name not in taken
    }


def layers(nodes: dict[str, Node]) -> dict[str, int]:
    """For each node the length of the longest way to it."""
    depth: dict[str, int] = {}
    for name, node in nodes.items():
        depth[name] = max((depth[i] + 1 for i in node.inputs), default=0)
    if len(set(depth.values())) != len(depth):
        sys.exit("draw_converted_graph: two nodes share a layer; this drawing has one column only")
    return depth


# --- the drawing ------------------------------------------------------------------------------------------------------

# A white card of its own: it reads the same on a light and on a dark page.
STYLE = """
  text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 13px; fill: #1f2328 }
  .title { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 16px; font-weight: 600 }
  .note { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 12.5px; fill: #57606a }
"""
PLAIN, CONVERTED, ENGINE = ("#f6f8fa", "#8c959f"), ("#dafbe1", "#2da44e"), ("#f0fff4", "#1a7f37")


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{kind} text-anchor="{anchor}">{escape(content)}</text>'


def box(x: float, y: float, width: float, height: float, colours: tuple[str, str], extra: str = "") -> str:
    fill, stroke = colours
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{stroke}" {extra}/>'


def row(layer: int) -> int:
    return TOP + layer * (HEIGHT + GAP)


def node(x: int, layer: int, label: str, colours: tuple[str, str]) -> list[str]:
    y = row(layer)
    return [box(x, y, WIDTH, HEIGHT, colours), text(x + WIDTH / 2, y + 19, label.strip(), anchor="middle")]


def edge(x: int, start: int, end: int) -> str:
    """From the bottom of a layer's node to the top of the next; a longer way runs round the left of what is between."""
    if end == start + 1:
        way = f"M{x + WIDTH / 2} {row(start) + HEIGHT} V{row(end) - 2}"
    else:
        out, into = row(start) + HEIGHT / 2, row(end) + HEIGHT / 2
        way = f"M{x} {out} C{x - 44} {out} {x - 44} {into} {x - 2} {into}"
    return f'<path d="{way}" fill="none" stroke="#57606a" stroke-width="1.4" marker-end="url(#arrow)"/>'


def draw(before: dict[str, Node], after: dict[str, Node], inside: dict[str, Node], counts: dict[str, int]) -> str:
    """`after` holds the nodes of `inside` in the place of the engine."""
    depth = layers(before)
    missing = [name for name in after if name not in depth]
    if missing:
        sys.exit(f"draw_converted_graph: {missing} come after the conversion, but not before it")
    first, last = (pick(depth[name] for name in inside) for pick in (min, max))
    frame_y, frame_end = row(first) - 10, row(last) + HEIGHT + 10
    frame = box(RIGHT - 56, frame_y, WIDTH + 112 + 244, frame_end - frame_y, ENGINE, 'stroke-width="2"')
    parts = [frame]
    for x, nodes in ((LEFT, before), (RIGHT, after)):
        for name, n in nodes.items():
            parts += node(x, depth[name], n.label, CONVERTED if name in inside else PLAIN)
            parts += [edge(x, depth[i], depth[name]) for i in n.inputs]
    lines = [
        "one TRTEngineOp node",
        "",
        "It runs an engine that is built from",
        "these ops for the shapes in use.",
        "",
        "The ops themselves stay in the model,",
        "as the function",
        f"{ENGINE_NAME}_native_segment:",
        "where no engine serves a call, it runs.",
    ]
    parts.append(text(NOTE, frame_y + 32, ENGINE_NAME, "title"))
    parts += [text(NOTE, frame_y + 56 + 18 * at, line, "note") for at, line in enumerate(lines) if line]
    height = row(max(depth.values())) + HEIGHT + 76
    width = RIGHT + WIDTH + 322
    notes = (
        f"Not drawn: constants ({counts['constants before']} before, {counts['constants after']} after), what is computed from them "
        "alone, and Identity nodes in between.",
        "? is the batch size, which the model leaves open.",
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return "\n".join(
        [
            head,
            "<title>A TensorFlow graph before and after its conversion</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z" fill="#57606a"/></marker></defs>',
            box(1, 1, width - 2, height - 2, ("#ffffff", "#d0d7de")),
            text(LEFT, 36, "Before", "title"),
            text(LEFT, 58, f"as it comes to the converter, {counts['before']} nodes", "note"),
            text(RIGHT, 36, "After convert()", "title"),
            text(RIGHT, 58, f"{counts['after']} nodes, {counts['inside']} more in the native segment", "note"),
            *parts,
            *(text(LEFT, height - 40 + 18 * at, line, "note") for at, line in enumerate(notes)),
            "</svg>",
            "",
        ]
    )


def main() -> None:
    drawing, clusters, converted = convert()
    before = nodes_of(drawing)
    ((cluster, engine),) = clusters.subgraphs.items()
    if cluster != f"cluster_{ENGINE_NAME}":
        sys.exit(f"draw_converted_graph: {cluster} is another engine than {ENGINE_NAME}")
    inside = {name: n for name, n in flowing(before).items() if name in engine.nodes}
    definition = converted.graph.as_graph_def()
    (segment,) = [f for f in definition.library.function if f.signature.name == f"{ENGINE_NAME}_native_segment"]

    def constants(nodes) -> int:
        return sum(n.op == "Const" for n in nodes)

    counts = {
        "before": int(drawing.attributes["nodes"]),
        "after": len(definition.node),
        "inside": len(segment.node_def),
        "constants before": int(drawing.attributes["constants"]),
        "constants after": constants(definition.node) + constants(segment.node_def),
    }
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    target.write_text(draw(flowing(before), flowing(nodes_of(clusters)), inside, counts), encoding="utf-8")
    print(f"{target}: {counts}")


if __name__ == "__main__":
    main()
