"""Draw memory over a soak: the CSV file of tests/soak/soak.py as an SVG picture.

    python docs/results/data/draw_soak_curve.py target/soak/soak.csv [--out docs/results/soak_curve.svg] [--warm SHARE]

Resident memory of the process over the run, the bytes that malloc has given out, and TensorFlow's memory on the GPU where there was one.
The line is fitted after the first SHARE of the run, a third where nothing is said (tests/soak/memory.py); its slope and standard error are
written beside it. Where TensorRT builds, its builder's 3 GB go some seconds after the last new engine: take a share behind that.
"""

import argparse
import csv
import html
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "soak"))

import memory

WIDTH, HEIGHT, MARGIN = 760, 300, 56
MIB = 1 << 20
CURVES = {
    "resident_bytes": "resident memory",
    "allocated_bytes": "given out by malloc",
    "device_bytes": "TensorFlow's memory on the GPU",
}


def panel(title: str, minutes: list[float], values: list[float], warm: float, top: int, foot: str) -> str:
    high = max(values) * 1.05
    low = min(*values, 0.8 * high)  # A change of a page is not drawn as a mountain.

    def place(minute: float, value: float) -> str:
        x = MARGIN + minute / minutes[-1] * (WIDTH - 2 * MARGIN)
        return f"{x:.1f},{top + HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN):.1f}"

    slope, error, middle, mean = memory.growth(minutes, values, warm)
    ends = [minutes[int(len(minutes) * warm)], minutes[-1]]
    line = " ".join(place(minute, mean + slope * (minute - middle)) for minute in ends)
    told = html.escape(f"{title}: {slope / 1024:+.1f} ± {error / 1024:.1f} KiB a minute after the first {ends[0]:.1f} minutes")
    step = max(1, len(values) // 900)
    points = " ".join(place(minute, value) for minute, value in zip(minutes[::step], values[::step]))
    return "\n".join(
        [
            f'<text x="{MARGIN}" y="{top + 28}">{told}</text>',
            f'<polyline points="{place(0, low)} {place(minutes[-1], low)}" stroke="#999" fill="none"/>',
            f'<polyline points="{points}" stroke="#2266aa" fill="none" stroke-width="1"/>',
            f'<polyline points="{line}" stroke="#cc4422" fill="none" stroke-width="2"/>',
            *(
                f'<text x="{MARGIN - 6}" y="{place(0, value).split(",")[1]}" text-anchor="end">{value / MIB:.0f}</text>'
                for value in (low, values[-1], high)
            ),
            f'<text x="{WIDTH - MARGIN}" y="{top + HEIGHT - 30}" text-anchor="end">{foot}</text>',
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw memory over a soak.")
    parser.add_argument("samples", help="soak.csv of tests/soak/soak.py")
    parser.add_argument("--out", default="docs/results/soak_curve.svg")
    parser.add_argument("--warm", type=float, default=1 / 3, help="share of the run that the line leaves out (a third)")
    options = parser.parse_args()
    with open(options.samples) as file:
        samples = list(csv.DictReader(file))
    minutes = [float(sample["seconds"]) / 60 for sample in samples]
    last = samples[-1]
    foot = f"{minutes[-1]:.0f} minutes, {last['requests']} requests, {last['reloads']} reloads, {last['builds']} builds, {last['evictions']} evictions; MiB"
    curves = {title: [float(sample[name]) for sample in samples] for name, title in CURVES.items()}
    curves = {title: values for title, values in curves.items() if any(values)}
    panels = "\n".join(panel(title, minutes, values, options.warm, i * HEIGHT, foot) for i, (title, values) in enumerate(curves.items()))
    size = f'width="{WIDTH}" height="{HEIGHT * len(curves)}"'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">\n<rect {size} fill="white"/>\n{panels}\n</svg>\n'
    with open(options.out, "w") as file:
        file.write(picture)


if __name__ == "__main__":
    main()
