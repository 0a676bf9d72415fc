"""`thermocube sharpen evaluate`: tables, figures, and going on where it was stopped."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import thermal_pairs
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cube.errors import ModelError, StoreError
from models.image_metrics import grouped_mean
from pipelines.cli import app
from pipelines.pairs import read_pairs
from pipelines.sharpen import compare
from pipelines.sharpen_figures import Usefulness, local_correlation
from pipelines.sharpen_protocol import Protocol, Score, inputs_of
from pipelines.sharpen_rows import FILE
from pipelines.sharpen_table import GAIN, table
from pipelines.sharpen_variants import Catalogue, names

BLOCKS = ("registered", "price", "windows")
FAST = ("bicubic", "tsharp", "local_slope", "local_slope-registered", "local_slope-exact")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thermal_pairs.write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.nc")


def run(pairs: Path, out: Path, *options: str) -> Result:
    command = ["sharpen", "evaluate", str(pairs), "--out", str(out), *options]
    return CliRunner().invoke(app, command)


def methods(*chosen: str) -> list[str]:
    return [part for name in chosen for part in ("--method", name)]


def test_the_command_writes_tables_and_figures(pairs: Path, tmp_path: Path) -> None:
    done = run(pairs, tmp_path, *methods(*FAST), "--figures", "1", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rows"] == 9 and told["resumed"] == 0
    paper, registered = (told["tables"][name]["methods"] for name in ("paper", "registered"))
    assert set(paper) == set(FAST) and set(registered) == set(FAST) - {"local_slope-registered"}
    for rows in (paper, registered):
        assert rows["local_slope"][GAIN]["estimate"] != rows["bicubic"][GAIN]["estimate"] == 0
    # One place only, so that there is nothing to resample.
    assert registered["tsharp"]["rmse"]["low"] is None
    assert registered["local_slope-exact"]["consistency_box"]["estimate"] < 1e-9
    assert registered["local_slope"]["consistency_psf"]["estimate"] < 0.5
    for name in ("scores.csv", "summary.csv", "table.md", "page.html", "pair-007-registered.png"):
        assert str(tmp_path / name) in told["files"] and (tmp_path / name).stat().st_size > 0
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and {row["location"] for row in rows} == {"3"}
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "http" not in page
    assert "| local_slope-registered |" in (tmp_path / "table.md").read_text()
    useful = json.loads((tmp_path / "usefulness-registered.json").read_text())
    assert (useful["method"], useful["reference"]) == ("local_slope", "bicubic")
    assert sum(row["share"] for row in useful["bins"]) == pytest.approx(1)
    best = max(useful["bins"], key=lambda row: row["share"])
    assert 0 < best["method"] < 20 and 0 < best["reference"] < 20
    text = filled_page(tmp_path)
    assert "old" not in text and text.startswith("Kept.") and text.count("<!-- end -->") == 3
    slope = registered["local_slope"]
    assert f"| `local_slope` | {slope['rmse']['estimate']:.3f} [" in text
    exact = registered["local_slope-exact"]["rmse"]["estimate"]
    assert f" | {exact:.3f} / " in text.split("begin: price")[1]
    assert f"| {100 * best['share']:.1f} % |" in text.split("begin: windows")[1]


def filled_page(evaluated: Path) -> str:
    """What the benchmarks' page makes of a comparison's folder."""
    source = Path(__file__).resolve().parents[2] / "benchmarks" / "sharpen_page.py"
    spec = importlib.util.spec_from_file_location("sharpen_page", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    study = evaluated / "study"
    study.mkdir()
    (study / "evaluate").symlink_to(evaluated)
    blocks = (f"<!-- begin: {name} -->\nold\n<!-- end -->\n" for name in BLOCKS)
    page = evaluated / "page.md"
    page.write_text("Kept.\n" + "".join(blocks))
    module.main(study, page)
    return page.read_text()


def test_rows_outlive_a_kill(pairs: Path, tmp_path: Path) -> None:
    first = run(pairs, tmp_path, *methods("bicubic", "tsharp"), "--figures", "0")
    assert first.exit_code == 0, first.output
    file = tmp_path / FILE
    head, *rows = file.read_text().splitlines()
    kept = json.loads(rows[0]) | {"rmse": 123.0}
    # As a kill leaves it: one row whole (marked here, to know it again), one cut short.
    file.write_text("\n".join([head, json.dumps(kept), rows[1][:40]]))
    again = run(pairs, tmp_path, *methods("bicubic", "tsharp"), "--figures", "0", "--json")
    told = json.loads(again.stdout)
    assert told["rows"] == 4 and told["resumed"] == 1
    assert told["tables"]["paper"]["methods"]["bicubic"]["rmse"]["estimate"] == 123.0
    beside = [*methods("bicubic"), "--also", "nearest"]
    more = run(pairs, tmp_path, *beside, "--figures", "0", "--json")
    assert json.loads(more.stdout)["resumed"] == 2
    assert len(file.read_text().splitlines()) == 1 + 6


def test_an_interrupted_job_goes_on(pairs: Path, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(done: int, total: int, line: str) -> None:
        if done == 2:
            raise Stop

    chosen = ["nearest", "bilinear", "bicubic"]
    with pytest.raises(Stop):
        compare(pairs, tmp_path, methods=chosen, figures=0, progress=stop)
    whole = compare(pairs, tmp_path, methods=chosen, figures=0)
    assert whole.resumed == 2 and whole.rows == 6
    other = compare(pairs, tmp_path / "anew", methods=chosen, figures=0)
    assert other.to_dict()["tables"] == whole.to_dict()["tables"]


def test_rows_of_another_file_are_not_mixed_in(pairs: Path, tmp_path: Path) -> None:
    compare(pairs, tmp_path, methods=["nearest"], figures=0)
    changed = thermal_pairs.write_pairs(tmp_path / "b.nc", location_group=("pair", np.array([4])))
    with pytest.raises(StoreError, match="another pairs file") as caught:
        compare(changed, tmp_path, methods=["nearest"], figures=0)
    assert caught.value.kind == "rows_exist"
    done = run(changed, tmp_path, *methods("nearest"), "--figures", "0", "--overwrite", "--json")
    assert json.loads(done.stdout)["resumed"] == 0


def test_bad_usage_and_failures_have_their_own_codes(pairs: Path, tmp_path: Path) -> None:
    unknown = run(pairs, tmp_path, *methods("magic"))
    assert unknown.exit_code == 2 and "magic" in unknown.output
    nothing = run(pairs, tmp_path, *methods("local_slope-registered"), "--protocol", "registered")
    assert nothing.exit_code == 2
    bare = thermal_pairs.write_pairs(
        tmp_path / "bare.nc", ndvi=(("pair", "y256", "x256"), np.full((1, 256, 256), np.nan))
    )
    options = [*methods("bicubic", "tsharp"), "--protocol", "registered", "--figures", "1"]
    partly = run(bare, tmp_path / "out", *options)
    assert partly.exit_code == 3, partly.output
    assert "could not be made: pair 7, tsharp (registered)" in partly.output
    assert "could not be made" in run(bare, tmp_path / "out", *options).output
    absent = run(tmp_path / "absent.nc", tmp_path / "out")
    assert absent.exit_code == 1 and "no pairs file" in str(absent.exception)


def test_no_row_at_all_is_an_error(tmp_path: Path) -> None:
    dropped = thermal_pairs.write_pairs(tmp_path / "pairs.nc", paper_ok=("pair", np.array([0])))
    with pytest.raises(ModelError, match="scores none"):
        compare(dropped, tmp_path, protocols=[Protocol.PAPER], methods=["nearest"])
    both = compare(dropped, tmp_path, methods=["nearest"], figures=0)
    assert both.left_out == {Protocol.PAPER: [7]} and list(both.tables) == [Protocol.REGISTERED]


def test_a_folder_that_cannot_be_made_is_named(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        compare(pairs, tmp_path / "file" / "out", methods=["nearest"])


def test_every_variant_makes_a_map(pairs: Path) -> None:
    pair = read_pairs(pairs)[0]
    known = Catalogue().chosen(Protocol.PAPER, None)
    assert tuple(known) == names()
    assert set(Catalogue().chosen(Protocol.REGISTERED, None)) == {
        n for n in names() if "registered" not in n
    }
    inputs = inputs_of(pair, Protocol.PAPER)
    for name, variant in known.items():
        fine = variant.make(inputs)
        assert fine.shape == (256, 256) and np.isfinite(fine).all(), name
    exact = known["local_slope-exact"]
    assert exact.misfit(exact.make(inputs), inputs) < 1e-9


def test_registration_puts_the_map_where_the_ndvi_is(pairs: Path) -> None:
    pair = read_pairs(pairs)[0]
    row, column = thermal_pairs.corner()
    truth = thermal_pairs.fine_map(row + pair.offset[0], column + pair.offset[1])
    inputs = inputs_of(pair, Protocol.PAPER)
    stacked, moved = (
        float(
            np.abs(Catalogue().chosen(Protocol.PAPER, None)[name].make(inputs) - truth)[
                12:-12, 12:-12
            ].mean()
        )
        for name in ("local_slope", "local_slope-registered")
    )
    assert moved < stacked / 2


def test_what_the_images_show_of_their_place_serves_as_well_as_a_georeference(pairs: Path) -> None:
    pair = read_pairs(pairs)[0]
    inputs = inputs_of(pair, Protocol.PAPER)
    moved, aligned = (Catalogue().get(f"local_slope-{how}") for how in ("registered", "aligned"))
    assert moved is not None and aligned is not None
    blind = inputs._replace(offset=(0, 0))
    np.testing.assert_array_equal(aligned.make(blind), moved.make(inputs))
    assert aligned.misfit(aligned.make(blind), blind) == moved.misfit(moved.make(inputs), inputs)
    assert "local_slope-aligned" in Catalogue().chosen(Protocol.REGISTERED, ["local_slope-aligned"])


def test_a_registered_map_is_compared_where_it_lies(pairs: Path) -> None:
    """Moved back to the LST's grid, a map that is registered misses no more than one stacked."""
    pair = read_pairs(pairs)[0]
    moved = Catalogue().chosen(Protocol.PAPER, None)["local_slope-registered"]
    inputs = inputs_of(pair, Protocol.PAPER)
    plain = Catalogue().chosen(Protocol.REGISTERED, None)["local_slope"]
    known = inputs_of(pair, Protocol.REGISTERED)
    first = moved.misfit(moved.make(inputs), inputs)
    inner = known.lst.copy()
    inner[[0, 1, -2, -1]] = np.nan
    inner[:, [0, 1, -2, -1]] = np.nan
    second = plain.misfit(plain.make(known), known._replace(lst=inner))
    assert first == pytest.approx(second, rel=1e-6)


@given(st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 4)), min_size=1, max_size=25))
def test_the_interval_of_a_mean_holds_it(rows: list[tuple[float, int]]) -> None:
    values, groups = (np.array(column) for column in zip(*rows, strict=True))
    found = grouped_mean(values, groups, resamples=400)
    assert found.estimate == pytest.approx(values.mean(), abs=1e-9)
    if len(set(groups.tolist())) == 1:
        assert np.isnan(found.low) and np.isnan(found.high)
        return
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    assert grouped_mean(values + 7, groups, resamples=400).low == pytest.approx(found.low + 7)


def test_scenes_of_the_same_ground_do_not_narrow_an_interval() -> None:
    values = np.random.default_rng(1).normal(size=12)
    once = grouped_mean(values, np.arange(12))
    copied = grouped_mean(np.repeat(values, 5), np.repeat(np.arange(12), 5))
    naive = grouped_mean(np.repeat(values, 5), np.arange(60))
    assert copied == pytest.approx(once)
    assert naive.high - naive.low < 0.6 * (copied.high - copied.low)
    with pytest.raises(ValueError, match="one figure and one group"):
        grouped_mean(values, np.arange(3))
    with pytest.raises(ValueError, match="level"):
        grouped_mean(values, np.arange(12), level=1.0)


def test_methods_are_compared_on_the_same_pairs() -> None:
    def score(pair: int, method: str, rmse: float) -> Score:
        return Score(pair, method, Protocol.PAPER, {"rmse": rmse})

    rows = [score(1, "bicubic", 2.0), score(2, "bicubic", 3.0), score(3, "bicubic", 9.0)]
    rows += [score(1, "tsharp", 1.5), score(2, "tsharp", 2.5)]
    found = table(rows, Protocol.PAPER, {1: 1, 2: 2, 3: 3})
    assert found.pairs == 2 and found.means["bicubic"]["rmse"].estimate == 2.5
    assert found.means["tsharp"][GAIN] == pytest.approx((0.5, 0.5, 0.5))


def test_where_ndvi_helps_is_measured_by_local_correlation(pairs: Path) -> None:
    pair = read_pairs(pairs)[0]
    known = Catalogue().chosen(Protocol.REGISTERED, None)
    found = Usefulness.measure([pair], Protocol.REGISTERED, known["tsharp"], known["bicubic"])
    (correlation, gain), pixels = found.by_pair[0], found.pixels
    assert correlation < -0.95 and gain > 0
    assert pixels[0] > 0.5 * pixels.sum()
    assert found.errors[1, 0] < found.errors[0, 0]
    ramp = np.arange(144.0).reshape(12, 12)
    np.testing.assert_allclose(local_correlation(ramp, -ramp), -1)
    np.testing.assert_array_equal(local_correlation(ramp, np.ones((12, 12))), 0)


def test_three_real_pairs(shared_data: Path, tmp_path: Path) -> None:
    options = ["--pair", "0", "--pair", "52", "--pair", "61", "--figures", "0", "--json"]
    done = run(
        shared_data / "modis_aster_pairs.nc", tmp_path,
        *methods("bicubic", "tsharp-published", "local_slope"), *options,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["left_out"] == {"paper": [52]}
    for name in ("paper", "registered"):
        rows = told["tables"][name]["methods"]
        assert rows["local_slope"]["ssim"]["low"] > rows["bicubic"]["ssim"]["high"]
        assert rows["local_slope"][GAIN]["low"] > 0
