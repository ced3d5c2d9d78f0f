"""Claims are read strictly: what is wrong is said with its line."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

from analysis.claim_file import FILES, ByProfile, read_claims
from analysis.profiles import PROFILES
from tfc_jax.errors import InputError

CLAIM = """\
claims:
  - id: T4
    claim: Features grow alike
    source: paper
    sweep: two_phase
    cells: {plain: "depth == 9"}
    evidence: similarity.rise
    arguments: {column: feature_cos}
    statistic: change of the cosine
    unit: cosine
    direction: above
    no_effect: 0
    threshold: 0.02
    why: because
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "claims.yaml"
    path.write_text(text)
    return path


def test_a_claim_has_one_part_without_a_name(tmp_path: Path) -> None:
    (claim,) = read_claims(written(tmp_path, CLAIM))
    (part,) = claim.parts.values()
    assert (claim.id, claim.family, claim.sweeps) == ("T4", "T", ("two_phase",))
    assert list(claim.parts) == [""]
    assert part.cells == {"plain": "depth == 9"}
    assert (part.rule.direction, part.rule.no_effect, part.rule.threshold) == ("above", 0, 0.02)


def test_a_part_says_what_differs_from_the_claim(tmp_path: Path) -> None:
    parts = """\
    parts:
      all pairs: {}
      in a wide net: {sweep: robustness, threshold: 0.1, cells: {wide: width == 128}}
"""
    (claim,) = read_claims(written(tmp_path, CLAIM + parts))
    first, second = claim.parts.values()
    assert claim.sweeps == ("two_phase", "robustness")
    assert (first.rule.threshold, second.rule.threshold) == (0.02, 0.1)
    assert second.cells == {"wide": "width == 128"}
    assert second.evidence == "similarity.rise"


BY_PROFILE = """\
    parts:
      plain: {cells: {plain: {default: depth == 9, paper: depth == 11}}}
      blobs: {profiles: [default], cells: {far: difficulty < 0.3}}
      cifar10: {profiles: [paper], cells: {cifar10: "dataset == 'cifar10'"}}
"""


@pytest.mark.parametrize(
    ("profile", "cells"),
    [
        ("default", {"plain": {"plain": "depth == 9"}, "blobs": {"far": "difficulty < 0.3"}}),
        (
            "paper",
            {"plain": {"plain": "depth == 11"}, "cifar10": {"cifar10": "dataset == 'cifar10'"}},
        ),
        ("smoke", {"plain": {"plain": "depth == 9"}, "blobs": {"far": "difficulty < 0.3"}}),
    ],
)
def test_cells_and_parts_are_those_of_the_profile(
    tmp_path: Path, profile: str, cells: dict[str, dict[str, str]]
) -> None:
    (claim,) = read_claims(written(tmp_path, CLAIM + BY_PROFILE), PROFILES[profile])
    assert {name: part.cells for name, part in claim.parts.items()} == cells


def test_the_names_of_profiles_are_those_that_read_cells_of_their_own() -> None:
    assert list(ByProfile.model_fields) == [n for n, p in PROFILES.items() if p.cells == n]
    assert {profile.cells for profile in PROFILES.values()} == set(ByProfile.model_fields)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("paper: depth == 11", "papr: depth == 11", 16, "unknown profile 'papr'.* mean 'paper'"),
        (", paper: depth == 11", "", 16, r"parts.plain.cells.plain.paper: Field required"),
        ("paper: depth == 11", "paper: 11", 16, "plain.paper: .*string"),
        ("{far: difficulty < 0.3}", "{far: [3]}", 17, "cells.far: an expression, or a mapping"),
        ("[default]", "[defaults]", 17, "unknown profile 'defaults'.* mean 'default'"),
        ("[default]", "[smoke]", 17, "unknown profile 'smoke'. Allowed: default, paper"),
        ("[default]", "[]", 17, "profiles: .*at least 1"),
        ("depth == 11", "depht == 11", 2, "part 'plain': .*'depht'.* Did you mean 'depth'"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    path = written(tmp_path, CLAIM + BY_PROFILE.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        read_claims(path)
    assert f"claims.yaml:{line}: " in str(error.value)


def test_a_claim_has_a_part_in_every_profile(tmp_path: Path) -> None:
    parts = "    parts: {blobs: {profiles: [default]}}\n"
    with pytest.raises(InputError, match=r"claims.yaml:2: no part has the profile 'paper'"):
        read_claims(written(tmp_path, CLAIM + parts))


def test_a_claim_or_a_part_may_have_no_opposite(tmp_path: Path) -> None:
    parts = "    parts: {a: {}, b: {no_effect: null}}\n"
    (claim,) = read_claims(written(tmp_path, CLAIM + parts))
    assert [part.rule.no_effect for part in claim.parts.values()] == [0, None]
    (claim,) = read_claims(written(tmp_path, CLAIM.replace("no_effect: 0", "no_effect: null")))
    assert claim.parts[""].rule.null == 0.02


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("why: because", "why: because\n    wy: no", 15, r"unknown key 'wy'.* Did you mean 'why'"),
        ("    unit: cosine\n", "", 2, "unit: Field required"),
        ("id: T4", "id: X4", 2, "id: .*pattern"),
        ("source: paper", "source: nobody", 4, "source: .*paper"),
        ("depth == 9", "depht == 9", 2, "unknown name 'depht'.* Did you mean 'depth'"),
        ("similarity.rise", "similarity.ris", 2, "no function 'ris'.* Did you mean 'rise'"),
        ("similarity.rise", "similarities.rise", 2, "no evidence file 'similarities'"),
        ("{column: feature_cos}", "{colum: feature_cos}", 2, "similarity.rise: .*column"),
        ("{column: feature_cos}", "{column: loss, no_effect: 1}", 2, "no_effect is no argument"),
        ("direction: above", "direction: below", 2, "at or below no_effect"),
        ("threshold: 0.02", "threshold: -0.02", 2, "at or above no_effect"),
        ("above\n    no_effect: 0", "either\n    no_effect: null", 2, "`either` needs a value"),
        ("threshold: 0.02", "threshold: .nan", 13, "threshold: .*finite"),
        ("why: because", "why: because\n    why: twice", 15, "not YAML: .*duplicate"),
        (
            "why: because",
            "why: x\n    parts: {a: {no_efect: 1}}",
            15,
            "unknown key 'no_efect'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    path = written(tmp_path, CLAIM.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read_claims(path)
    assert f"claims.yaml:{line}: " in str(error.value)


def test_an_id_stands_once_over_all_files(tmp_path: Path) -> None:
    path = written(tmp_path, CLAIM)
    with pytest.raises(InputError, match="T4 comes twice"):
        read_claims([path, path])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"claims.yaml:1: .*one key"):
        read_claims(written(tmp_path, "name: quickstart\n"))


def test_the_projects_own_claims_are_read() -> None:
    assert FILES
    assert {claim.family for claim in read_claims()} >= {"T"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_has_an_anchor_is_used_again(file: Path) -> None:
    events = list(YAML(typ="safe", pure=True).parse(file.read_text(encoding="utf-8")))
    used = {event.anchor for event in events if isinstance(event, AliasEvent)}
    named = {getattr(event, "anchor", None) for event in events} - {None}
    assert named == used
