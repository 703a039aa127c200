"""Which Transposes of an ONNX model stand between its image operations, and which at its edges."""

import dataclasses

import onnx

# What takes and gives images, channels first. A Transpose between two of these is one that the layout did not need.
IMAGE_OPS = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("BatchNormalization", "InstanceNormalization", "Resize", "LRN", "DepthToSpace", "SpaceToDepth"),
}
# The permutations between the two orders, for images and volumes. Others are the model's own.
ORDERS = {(0, 3, 1, 2), (0, 2, 3, 1), (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)}


@dataclasses.dataclass
class Transposes:
    """Names of the nodes that change between NHWC and NCHW.

    `inside`: an image operation leads to it, and it leads to another. `entering`: none leads to it. `leaving`: it leads to none.
    """

    inside: list[str]
    entering: list[str]
    leaving: list[str]


def transposes(graph: onnx.GraphProto) -> Transposes:
    made = {name: node for node in graph.node for name in node.output}
    before, after = {}, {}
    for node in graph.node:
        from_images = [made[name] for name in node.input if name in made]
        before[node.name] = any(n.op_type in IMAGE_OPS or before[n.name] for n in from_images)
    for node in reversed(graph.node):
        seen = after.get(node.name, False) or node.op_type in IMAGE_OPS
        for name in node.input:
            if seen and name in made:
                after[made[name].name] = True
    found = Transposes([], [], [])
    for node in graph.node:
        if node.op_type != "Transpose" or tuple(next(a.ints for a in node.attribute if a.name == "perm")) not in ORDERS:
            continue
        follows, leads = before[node.name], after.get(node.name, False)
        # One that stands between no image operations at all is the model's own.
        if follows and leads:
            found.inside.append(node.name)
        elif leads:
            found.entering.append(node.name)
        elif follows:
            found.leaving.append(node.name)
    return found
