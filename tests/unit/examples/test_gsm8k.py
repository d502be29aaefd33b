"""The GSM8K example: what replay says of it, against numbers counted straight from the file."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import math
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hyperguild.cli.main import run_command_line

EXAMPLE = Path(__file__).parents[3] / "examples" / "gsm8k"
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
SAMPLE = 24


def loaded_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_arithmetic", EXAMPLE / "check_arithmetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECK = loaded_check()


def rows() -> list[dict[str, str]]:
    """Return the rows of the file but for the contaminated ones."""
    with gzip.open(EXAMPLE / "data" / "contaminated_prompts.jsonl.gz", "rt") as file:
        left_out = {json.loads(line)["eval_prompt"] for line in file}
    with gzip.open(EXAMPLE / "data" / "gsm8k_responses.csv.gz", "rt", newline="") as file:
        return [row for row in csv.DictReader(file) if row["prompt"] not in left_out]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gsm8k") / "gsm8k.db"
    imported(path, EXAMPLE / "data" / "gsm8k_responses.csv.gz")
    return path


def imported(database: Path, responses: Path) -> None:
    options = ["--leave-out", str(EXAMPLE / "data" / "contaminated_prompts.jsonl.gz")]
    options += ["--rename", f"{WEAK}=mixtral-8x7b", "--rename", f"{STRONG}=gpt-4-1106"]
    assert run_command_line(["--db", str(database), "sessions", "import", str(responses), *options]) == 0


def replayed(database: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    command = [
        "--config",
        str(EXAMPLE / "chains.yaml"),
        "--db",
        str(database),
        "replay",
        *arguments,
        "--json",
    ]
    assert run_command_line(command) == 0
    return json.loads(capsys.readouterr().out)


def test_replay_gives_the_published_points(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = rows()
    n = len(known)
    weak = sum(row[WEAK] == "True" for row in known)
    strong = sum(row[STRONG] == "True" for row in known)
    either = sum("True" in (row[WEAK], row[STRONG]) for row in known)
    assert (n, weak, strong, either) == (1307, 833, 1121, 1215)

    alone = replayed(database, capsys, "--chain", "weak", "--chain", "strong")
    one, other = (chain["quality"] for chain in alone["chains"])
    assert (one["value"], other["value"], one["n"]) == (weak / n, strong / n, n)
    assert (f"{one['value']:.3f}", f"{other['value']:.3f}") == ("0.637", "0.858")
    assert alone["difference"]["quality"]["value"] == pytest.approx((strong - weak) / n, abs=1e-12)
    # Wilson's interval, the other way: its ends are where the observed share is z standard errors away.
    for end in (one["low"], one["high"]):
        assert abs(weak / n - end) == pytest.approx(1.959963985 * math.sqrt(end * (1 - end) / n), rel=1e-6)

    (perfect,) = replayed(database, capsys, "--verifier", "perfect")["chains"]
    assert perfect["quality"]["value"] == either / n
    assert perfect["escalated"]["value"] == (n - weak) / n
    assert (f"{perfect['quality']['value']:.3f}", f"{perfect['escalated']['value']:.3f}") == (
        "0.930",
        "0.363",
    )

    for share in (0.22, 0.5):
        (drawn,) = replayed(database, capsys, "--verifier", f"random:{share}")["chains"]
        assert drawn["escalated"]["value"] == pytest.approx(share, abs=1e-12)
        assert drawn["quality"]["value"] == pytest.approx((weak + share * (strong - weak)) / n, abs=1e-12)


def test_a_sample_goes_as_the_check_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = random.Random(6).sample(rows(), SAMPLE)  # noqa: S311  # no secret
    with (tmp_path / "sample.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(known[0]))
        writer.writeheader()
        writer.writerows(known)
    database = tmp_path / "sample.db"
    imported(database, tmp_path / "sample.csv")
    (found,) = replayed(database, capsys)["chains"]
    refused = [bool(CHECK.faults(row[f"{WEAK}_response"])) for row in known]
    good = [row[STRONG if bad else WEAK] == "True" for row, bad in zip(known, refused, strict=True)]
    assert 0 < sum(refused) < SAMPLE
    assert found["escalated"]["value"] == pytest.approx(sum(refused) / SAMPLE)
    assert found["quality"]["value"] == pytest.approx(sum(good) / SAMPLE)


def test_the_check_closes_more_than_half_of_the_gap() -> None:
    known = rows()
    asked = [row for row in known if CHECK.faults(row[f"{WEAK}_response"])]
    won = sum(row[STRONG] == "True" for row in asked) - sum(row[WEAK] == "True" for row in asked)
    gap = sum(row[STRONG] == "True" for row in known) - sum(row[WEAK] == "True" for row in known)
    assert len(asked) / len(known) <= 0.22
    assert won / gap >= 0.57


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_whole_file_by_replay(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = replayed(database, capsys, "--chain", "checked")["chains"]
    assert (found["known"], found["missing"]) == (1307, [])
    assert found["escalated"]["value"] <= 0.22
    assert found["gap_closed"] >= 0.57


@pytest.mark.parametrize(
    "answer",
    [
        "16 - 3 = 13 eggs. She sells 9 * $2 = $<<9*2=18>>18.\n#### 18",
        "20 guests * 2 hot dogs/guest = 40 hot dogs.",
        "That is 20% * $50 = $10.\n#### 10",
        r"\[ \frac{3}{4} \times 12 = 9 \]" + "\n#### 9",
        "6 x 6 = 36 / 12 = <<36/12=3>>3.\n#### 3",
        "5S - 4 = 5 * 20 - 4 = 100 - 4 = 96. So there are 96.",
        "- 2 + 3 = 5\n- 5 * 1,000 = 5,000\n#### 5,000",
        "x = 20 - 15\nx = 5\nSo it is 5.",
        "10 / 3 = 3.33, and rounded down that is 3.",
        "2 * 6 inches = 12 inches = 1 foot. 1 * 3 = 3.",
        "12.8 / 2/5 = 32.\n#### 32",
        "3 + (4 apples) = 7.",
    ],
)
def test_sound_arithmetic_passes(answer: str) -> None:
    assert CHECK.faults(answer) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("2 * 27 - 5 = <<2*27-5=52>>52.\n#### 52", "2 * 27 - 5 is 49, not 52"),
        ("So 350 - 60 = 280.\n#### 280", "350 - 60 is 290, not 280"),
        ("It costs 6 x $6000 = $<<6*6000=36000>>36,00", "breaks off"),
        ("That is 26 - 13 = <<26-1", "breaks off"),
        ("2 + 3 = 5. In 2", "breaks off"),
        ("12 / 24 = 0.5.\n#### 0.5", "no whole number"),
        ("4 - 10 = -6.\n#### -6", "no whole number"),
        ("They are 10.\n#### 10", "no calculation in the answer yields its result, 10"),
        ("2 + 3 = 5.\n#### 8", "no calculation in the answer yields its result, 8"),
        ("Nobody can tell.", "without a number"),
        ("", "breaks off"),
        ("1 / 0 = 3. (((((", "breaks off"),
    ],
)
def test_faulty_arithmetic_is_refused(answer: str, said: str) -> None:
    assert any(said in fault for fault in CHECK.faults(answer))
