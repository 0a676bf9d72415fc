"""Put the figures of a sharpening study into docs/superresolution.md.

    python benchmarks/sharpen_page.py results/sharpening docs/superresolution.md

The study's folder holds what the commands of that page have written: ``evaluate/`` and
``held-out/``, ``patches/``, and ``models/*``; recipes are those of docs/sharpening. Text between
``<!-- begin: NAME -->`` and ``<!-- end -->`` is replaced; all else is left as it is.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REFERENCE = {
    "nearest": ("2.172 / 0.420", "1.978 / 0.499"),
    "bilinear": ("2.082 / 0.439", "1.913 / 0.507"),
    "bicubic": ("2.100 / 0.460", "1.889 / 0.544"),
    "tsharp-published": ("2.199 / 0.566", "1.958 / 0.678"),
    "atprk-published": ("2.262 / 0.544", "1.999 / 0.663"),
    "aatprk-published": ("2.129 / 0.540", "1.887 / 0.677"),
    "dms": ("2.100 / 0.595", "1.842 / 0.698"),
}
"""RMSE and SSIM by paper and by registered protocol: an independent measurement."""
NETWORKS = {
    "SC-UNet, 64 px tiles": ("1.916 / 0.650", "1.697 / 0.740", "1.81"),
    "SC-UNet, whole image": ("1.908 / 0.655", "-", "1.90"),
    "SIF-CNN-SR1": ("2.196 / 0.624", "1.954 / 0.725", "1.62"),
    "SIF-CNN-SR2": ("1.947 / 0.619", "1.707 / 0.722", "1.82"),
}
"""Published weights, measured by the same hands; with RMSE_att by the paper's protocol."""
RETRAINED = {
    "sc_unet": "SC-UNet, 64 px tiles",
    "sif_sr1": "SIF-CNN-SR1",
    "sif_sr2": "SIF-CNN-SR2",
}
SETTINGS_CHOSEN = "local_slope[cubic,spread,0.8]"
"""Of all settings of local slope the first in the table of held-out reconstruction."""
RECIPES = Path(__file__).parents[1] / "docs" / "sharpening"
PATCHES_PUBLISHED = {
    "bicubic": "23.91 / .61 / .69",
    "network": "28.40 / .85 / .39",
}
"""PSNR, SSIM and RMSE in the table of MR U-Net's repository."""
HEAD = (
    "| method | RMSE, K | SSIM | RMSE_att, dB | HF corr. | consistency, block mean / PSF, K | "
    "reference RMSE / SSIM |\n|---|---|---|---|---|---|---|"
)
Summary = Mapping[str, Mapping[str, tuple[float, float, float]]]


def main(study: Path, page: Path) -> None:
    """Replace every block that the study has figures for."""
    blocks = dict(_blocks(study))
    text = page.read_text(encoding="utf-8")

    def filled(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in blocks:
            return found.group(0)
        return f"<!-- begin: {name} -->\n{blocks[name]}\n<!-- end -->"

    pattern = r"<!-- begin: ([\w-]+) -->\n.*?<!-- end -->"
    page.write_text(re.sub(pattern, filled, text, flags=re.DOTALL), encoding="utf-8")


def _blocks(study: Path) -> Iterator[tuple[str, str]]:
    for protocol, column in (("paper", 0), ("registered", 1)):
        summary = _summary(study / "evaluate" / "summary.csv", protocol)
        if summary:
            yield protocol, _table(summary, column)
            yield f"{protocol}-gain", _gains(summary)
            if protocol == "registered":
                yield "price", _price(summary)
                yield "networks", _networks(study)
    usefulness = study / "evaluate" / "usefulness-registered.json"
    if usefulness.is_file():
        yield "windows", _windows(json.loads(usefulness.read_text()))
    restored = study / "models" / "mr_unet" / "patches.json"
    if restored.is_file():
        yield "mr-unet", _restored(json.loads(restored.read_text()))
    yield "recipes", _recipes(sorted(RECIPES.glob("*.toml")))
    if (study / "held-out" / "choice.json").is_file():
        yield "short", _short(study)
    for name, most in (("held-out", 14), ("patches", None)):
        file = study / name / "choice.json"
        if file.is_file():
            yield name, _choice(json.loads(file.read_text()), most)
    models = sorted((study / "models").glob("*/settings.json"))
    if models:
        yield "training", _training(models)


def _summary(file: Path, protocol: str) -> Summary:
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    if not file.is_file():
        return found
    with file.open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            if row["protocol"] == protocol:
                values = (float(row["mean"]), float(row["low"]), float(row["high"]))
                found.setdefault(row["method"], {})[row["metric"]] = values
    return found


def _table(summary: Summary, column: int) -> str:
    lines = [HEAD]
    for method, row in summary.items():
        cells = [
            _bounds(row["rmse"], 3),
            _bounds(row["ssim"], 3),
            _bounds(row["rmse_att"], 2),
            f"{row['hf_corr'][0]:.3f}",
            f"{row['consistency_box'][0]:.3f} / {row['consistency_psf'][0]:.3f}",
            REFERENCE[method][column] if method in REFERENCE else "-",
        ]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    for name, figures in NETWORKS.items():
        if figures[column] != "-":
            spectrum = f"({figures[2]})" if column == 0 else "-"
            label = f"{name} (published weights, not run here)"
            lines.append(f"| {label} | - | - | {spectrum} | - | - | {figures[column]} |")
    return "\n".join(lines)


def _short(study: Path) -> str:
    """The methods that matter under both protocols, beside the aims and the best network."""
    choice = json.loads((study / "held-out" / "choice.json").read_text(encoding="utf-8"))
    paper, registered = (
        _summary(study / "evaluate" / "summary.csv", one) for one in ("paper", "registered")
    )
    roles = {
        choice["chosen"]: "chosen without ASTER: least RMSE held out",
        choice["most_alike"]: "chosen without ASTER: greatest SSIM held out",
        "slope_net": "one of its networks alone",
        SETTINGS_CHOSEN: "local slope with the settings chosen without ASTER",
        "local_slope": "default, its author had seen scores",
    }
    lines = [
        "| method | | paper | paper, aligned | paper, registered first | registered |",
        "|---|---|---|---|---|---|",
    ]
    for name, role in roles.items():
        found = (
            *(paper.get(f"{name}{ending}") for ending in ("", "-aligned", "-registered")),
            registered.get(name),
        )
        cells = [_three(row) if row else "-" for row in found]
        lines.append(f"| `{name}` | {role} | " + " | ".join(cells) + " |")
    lines += [
        "| SC-UNet, published | reference | 1.908 / .655 / 1.90 | - | - | 1.697 / .740 / - |",
        "| aims | | 1.80 / .69 / - | | | 1.64 / .78 / .90 |",
    ]
    return "\n".join(lines)


def _three(row: Mapping[str, tuple[float, float, float]]) -> str:
    return f"{row['rmse'][0]:.3f} / {row['ssim'][0]:.3f} / {row['rmse_att'][0]:.2f}"


def _gains(summary: Summary) -> str:
    order = sorted(summary, key=lambda method: -summary[method]["rmse_gain"][0])
    lines = ["| method | RMSE gained on bicubic, by pair, K |", "|---|---|"]
    lines += [f"| `{name}` | {_bounds(summary[name]['rmse_gain'], 3)} |" for name in order]
    return "\n".join(line for line in lines if "`bicubic`" not in line)


def _networks(study: Path) -> str:
    """The published recipes trained here beside the published weights: RMSE and SSIM."""
    file = study / "evaluate" / "summary.csv"
    paper, registered = (_summary(file, one) for one in ("paper", "registered"))
    lines = [
        "| network | paper: stacked | aligned first | published | registered: here | published |",
        "|---|---|---|---|---|---|",
    ]
    for name, label in RETRAINED.items():
        if name in registered:
            stacked, aligned, placed = (
                _pair(row, "rmse", "ssim") if row else "-"
                for row in (paper[name], paper.get(f"{name}-aligned"), registered[name])
            )
            published = NETWORKS[label]
            cells = (stacked, aligned, published[0], placed, published[1])
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _price(summary: Summary) -> str:
    """What exact consistency costs, and by how much maps miss their input without it."""
    lines = ["| method | as it is: RMSE, K / SSIM | misses its input by, block mean / PSF, K | "
             "exact: RMSE, K / SSIM |", "|---|---|---|---|"]  # fmt: skip
    for name in ("bicubic", "dms", "local_slope", "slope_net"):
        if name not in summary:
            continue
        row, exact = summary[name], summary.get(f"{name}-exact")
        cells = [_pair(row, "rmse", "ssim"), _pair(row, "consistency_box", "consistency_psf")]
        cells.append(_pair(exact, "rmse", "ssim") if exact else "-")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pair(row: Mapping[str, tuple[float, float, float]], first: str, second: str) -> str:
    return f"{row[first][0]:.3f} / {row[second][0]:.3f}"


def _windows(measured: Mapping[str, Any]) -> str:
    names = measured["reference"], measured["method"]
    lines = ["| correlation in the window | share of pixels | `{}`, K | `{}`, K |".format(*names)]
    lines.append("|---|---|---|---|")
    for row in measured["bins"]:
        if row["method"] is not None:
            place = f"{row['from']:g} to {row['to']:g}"
            errors = f"{row['reference']:.2f} | {row['method']:.2f}"
            lines.append(f"| {place} | {100 * row['share']:.1f} % | {errors} |")
    return "\n".join(lines)


def _restored(standing: Mapping[str, Any]) -> str:
    """MR U-Net and bicubic on patches of places that were held out."""
    lines = [f"{standing['patches']} patches of {standing['places']} places.", ""]
    lines += [
        "| patches | method | PSNR, dB | SSIM | RMSE, K | published |",
        "|---|---|---|---|---|---|",
    ]
    for when, methods in standing["table"].items():
        for method, row in methods.items():
            cells = [_bounds(row["psnr"], 2), _bounds(row["ssim"], 3), _bounds(row["rmse"], 3)]
            known = PATCHES_PUBLISHED[method] if when == "day and night" else "-"
            name = "mr_unet" if method == "network" else method
            lines.append(f"| {when} | `{name}` | " + " | ".join([*cells, known]) + " |")
    return "\n".join(lines)


def _recipes(files: list[Path]) -> str:
    parts = []
    for file in files:
        text = file.read_text(encoding="utf-8").strip()
        parts.append(f"`docs/sharpening/{file.name}`:\n\n```toml\n{text}\n```")
    return "\n\n".join(parts)


def _choice(choice: Mapping[str, Any], most: int | None) -> str:
    lines = [f"Noise added: {choice['noise']:.3f} K."]
    if most is not None:
        lines[0] += f" Least RMSE: `{choice['chosen']}`; greatest SSIM: `{choice['most_alike']}`."
    for name, rows in choice["sets"].items():
        lines += ["", f"**{name}**, {choice['scenes'][name]} scenes", "", _HELD_OUT]
        kept = [row for n, row in enumerate(rows) if most is None or n < most or _always(row)]
        lines += [_held_out(row) for row in kept]
    return "\n".join(lines)


_HELD_OUT = (
    "| method | RMSE with noise, K | behind the best | SSIM with noise | RMSE without, K | "
    "SSIM without |\n|---|---|---|---|---|---|"
)


def _always(row: Mapping[str, Any]) -> bool:
    return "[" not in row["method"]


def _held_out(row: Mapping[str, Any]) -> str:
    rmse, ssim = row["rmse"], row["ssim"]
    cells = [f"{rmse['noisy']:.3f}", _bounds(row["behind"], 3), f"{ssim['noisy']:.3f}"]
    cells += [f"{rmse['clean']:.3f}", f"{ssim['clean']:.3f}"]
    return f"| `{row['method']}` | " + " | ".join(cells) + " |"


def _training(files: list[Path]) -> str:
    heads = ("network", "folds", "seed", "epochs, best", "steps a fold", "scenes to learn from",
             "minutes in all")  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for file in files:
        found = json.loads(file.read_text(encoding="utf-8"))
        folds, recipe = found["folds"], found["recipe"]
        best = ", ".join(f"{fold['best_epoch']} of {len(fold['logs'])}" for fold in folds)
        scenes = ", ".join(str(fold["scenes"][0]) for fold in folds)
        steps = ", ".join(str(_steps(fold, recipe)) for fold in folds)
        minutes = sum(fold["seconds"] for fold in folds) / 60
        cells = [f"`{file.parent.name}`", str(len(folds)), str(found["seed"])]
        lines.append("| " + " | ".join([*cells, best, steps, scenes, f"{minutes:.0f}"]) + " |")
    return "\n".join(lines)


def _steps(fold: Mapping[str, Any], recipe: Mapping[str, Any]) -> int:
    epoch = -(-fold["scenes"][0] * recipe["draws"] // recipe["batch"])
    return epoch * len(fold["logs"])


def _bounds(values: Any, digits: int) -> str:
    estimate, low, high = (float(value) for value in values)
    return f"{estimate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
