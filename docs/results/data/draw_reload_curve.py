"""Draw memory over reloads: the CSV file of tests/cpp/serving_harness.cc as an SVG picture.

    python docs/results/data/draw_reload_curve.py CURVE.csv [docs/results/reload_curve.svg]

Resident memory of the process after each reload (and TensorFlow's memory on the GPU, where there was one), with the line that is fitted
through the second half; its slope and standard error are written beside it.
"""

import csv
import html
import sys

WIDTH, HEIGHT, MARGIN = 760, 300, 56
MIB = 1 << 20


def fit(values: list[float]) -> tuple[float, float, float]:
    """Slope a step, its standard error, and the value in the middle, by least squares over the second half of `values`."""
    y = values[len(values) // 2 :]
    n = len(y)
    middle, mean = (n - 1) / 2, sum(y) / n
    spread = sum((i - middle) ** 2 for i in range(n))
    slope = sum((i - middle) * v for i, v in enumerate(y)) / spread
    rest = sum((v - mean - slope * (i - middle)) ** 2 for i, v in enumerate(y))
    return slope, (rest / (n - 2) / spread) ** 0.5, mean


def panel(title: str, values: list[float], top: int) -> str:
    low, high = min(values), max(values)
    # A flat line in the middle, and no change of a page drawn as a mountain.
    low, high = min(low, 0.9 * high), high * 1.05 or 1.0

    def place(i: float, value: float) -> str:
        x = MARGIN + i * (WIDTH - 2 * MARGIN) / (len(values) - 1)
        return f"{x:.1f},{top + HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN):.1f}"

    slope, error, mean = fit(values)
    half = len(values) // 2
    reach = (len(values) - 1 - half) / 2
    line = " ".join([place(half, mean - slope * reach), place(len(values) - 1, mean + slope * reach)])
    told = html.escape(f"{title}: {slope / 1024:+.1f} ± {error / 1024:.1f} KiB a reload over the second half")
    points = " ".join(place(i, v) for i, v in enumerate(values))
    axis = [place(0, low), place(len(values) - 1, low)]
    return "\n".join(
        [
            f'<text x="{MARGIN}" y="{top + 28}">{told}</text>',
            f'<polyline points="{" ".join(axis)}" stroke="#999" fill="none"/>',
            f'<polyline points="{points}" stroke="#2266aa" fill="none" stroke-width="1.5"/>',
            f'<polyline points="{line}" stroke="#cc4422" fill="none" stroke-width="2"/>',
            *(
                f'<text x="{MARGIN - 6}" y="{place(0, v).split(",")[1]}" text-anchor="end">{v / MIB:.0f}</text>'
                for v in (low, values[0], high)
            ),
            f'<text x="{WIDTH - MARGIN}" y="{top + HEIGHT - 30}" text-anchor="end">{len(values)} reloads; MiB</text>',
        ]
    )


def main() -> None:
    with open(sys.argv[1]) as file:
        lines = list(csv.DictReader(file))
    curves = {"resident memory": [float(line["resident_bytes"]) for line in lines]}
    device = [float(line["device_bytes"]) for line in lines]
    if any(device):
        curves["TensorFlow's memory on the GPU"] = device
    panels = "\n".join(panel(title, values, i * HEIGHT) for i, (title, values) in enumerate(curves.items()))
    size = f'width="{WIDTH}" height="{HEIGHT * len(curves)}"'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">\n<rect {size} fill="white"/>\n{panels}\n</svg>\n'
    with open(sys.argv[2] if len(sys.argv) > 2 else "docs/results/reload_curve.svg", "w") as file:
        file.write(picture)


if __name__ == "__main__":
    main()
