"""Scripts in every text of a report page, in a real browser: none runs, and either layer suffices.

Escaping makes all of them text. The content security policy would stop those that were not. Each is
tried without the other, and once neither is there, to see that the strings are live.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, sync_playwright

from analysis.report import Picture, figures_page, page, pages
from tfc_jax.results import open_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ,
        reason="no chromium: apt-get install chromium",
    ),
]

ATTACKS = tuple(
    text.replace("RUN", f"ran({i})")
    for i, text in enumerate(
        """\
<script>RUN</script>
</script><script>RUN</script>
</title><script>RUN</script>
</style><script>RUN</script>
</textarea><script>RUN</script>
--><script>RUN</script>
]]><script>RUN</script>
<ScRiPt >RUN</sCrIpT >
<scr<script>ipt>RUN</script>
<script type=module>RUN</script>
<script src="data:text/javascript,RUN"></script>
<img src=x onerror=RUN>
"><img src=x onerror=RUN>
'><img src=x onerror=RUN>
"/onerror=RUN src=x a="
<img src=x onerror="RUN" //
<img srcset=x onerror=RUN>
<svg onload=RUN>
<svg><script>RUN</script></svg>
<svg><animate onbegin=RUN attributeName=x dur=1s>
<math><mtext></mtext><img src=x onerror=RUN></math>
<details open ontoggle=RUN>x</details>
<input autofocus onfocus=RUN>
<video><source onerror=RUN></video>
<audio src=x onerror=RUN></audio>
<object data="javascript:RUN"></object>
<embed src="javascript:RUN">
<iframe srcdoc="<script>parent.RUN</script>"></iframe>
<iframe src="javascript:parent.RUN"></iframe>
<iframe src="data:text/html,<script>parent.RUN</script>"></iframe>
<a href="javascript:RUN">x</a>
<a href=" java&#9;script:RUN">x</a>
<form><button formaction="javascript:RUN">x</button></form>
<div onmouseover=RUN onclick=RUN>x</div>
<div style="background:url(javascript:RUN)">x</div>
<body onload=RUN>
<marquee onstart=RUN>x</marquee>
<link rel=stylesheet href="javascript:RUN">
<base href="javascript:RUN//">
<meta http-equiv=refresh content="0;url=javascript:RUN">
<table background="javascript:RUN"></table>
<b>x</b><a href="javascript:RUN" target="_self">y</a>
{{ RUN }}
{% set x = RUN %}
${RUN}
javascript:RUN
';RUN;//
";RUN;//
`;RUN;//
\\";RUN;//
&lt;script&gt;RUN&lt;/script&gt;
\\u003cscript\\u003eRUN\\u003c/script\\u003e
%3Cscript%3ERUN%3C/script%3E
<noscript><p title="</noscript><img src=x onerror=RUN>">
<!--<img src="--><img src=x onerror=RUN>//">
\u2028RUN\u2029
""".rstrip("\n").split("\n")
    )
)
ALL = " ".join(ATTACKS)
TEXT_KEYS = ("norm", "device_kind")
HOOK = """
window.hits = []; window.blocked = []; window.ran = (n) => { window.hits.push(n); };
document.addEventListener("securitypolicyviolation", (e) => blocked.push(e.effectiveDirective));
"""
# What a reader may do: everything is clicked, hovered and chosen.
TOUCH = """async () => {
  let live = 0;
  for (const one of document.querySelectorAll("*")) {
    for (const { name, value } of [...one.attributes]) {
      if (name.startsWith("on")) { live++; one.dispatchEvent(new Event(name.slice(2))); }
      const leads = ["href", "src", "action", "formaction", "data", "srcdoc"].includes(name);
      if (leads && /script/i.test(value) && !value.startsWith("#")) { live++; one.click?.(); }
    }
  }
  for (const select of document.querySelectorAll("select")) {
    for (const option of [...select.options]) {
      select.value = option.value;
      select.dispatchEvent(new Event("change"));
    }
  }
  await new Promise((done) => setTimeout(done, 300));
  return live;
}"""


class Seen(NamedTuple):
    """What became of a page.

    Attributes:
      hits: the strings that ran.
      blocked: directives of the policy that stopped something.
      live: attributes that would run something.
      shown: strings that stand on the page as text.
    """

    hits: set[int]
    blocked: list[str]
    live: int
    shown: set[int]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "CI must test the page: .ci/run installs chromium"
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def content(
    tmp_path_factory: pytest.TempPathFactory, write_results: Any, plateau_of: Any
) -> Mapping[str, Any]:
    """Arguments of a page with a script in every text that comes from a file."""
    root = tmp_path_factory.mktemp("scripts")
    runs = [
        {"run_id": f"{attack}{i}", "seed": 0, **dict.fromkeys(TEXT_KEYS, attack)}
        for i, attack in enumerate(ATTACKS)
    ]
    losses = plateau_of(100.0, 300, 0)
    write_results(root / "one", runs, lambda run: (losses, 100.0), every=100)
    part = next((root / "one" / "layers").glob("*.parquet"))
    layers = pq.read_table(part, partitioning=None)
    for attack in ATTACKS:
        layers = layers.append_column(attack, pa.array([0.5] * len(layers), pa.float32()))
    pq.write_table(layers, part)
    named = {f"{a}k": a for a in ATTACKS}
    manifest = {
        "description": ALL, "git": ALL, "platform": ALL, "machine": ALL, "versions": named,
        "earlier": [{ALL: ALL}], "flags": {"set": list(ATTACKS), "filter": ALL}, "name": ALL,
    }  # fmt: skip
    (root / "one" / "manifest.json").write_text(json.dumps(manifest))
    pictures = [Picture(a, a, (a,), (a,), {a: a}, PNG) for a in ATTACKS]
    sweeps = {ALL: open_results(root / "one")}
    return {
        "title": ALL, "pictures": pictures, "sweeps": sweeps, "claims": claims(), "notes": ATTACKS,
    }  # fmt: skip


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "60606000000005000157a6f2e40000000049454e44ae426082"
)


def claims() -> pd.DataFrame:
    numbers = dict.fromkeys(("effect", "low", "high", "p", "p_holm", "threshold"), 0.1) | {"n": 3}
    texts = ("id", "family", "claim", "source", "sweep", "statistic", "effect_unit", "detail",
             "verdict", "direction", "ours")  # fmt: skip
    return pd.DataFrame([{**dict.fromkeys(texts, a), **numbers} for a in ATTACKS])


def seen(browser: Browser, content: Mapping[str, Any], path: Path) -> Seen:
    """Opens the page and does all that a reader may do."""
    path.write_text(figures_page(**content))
    context = browser.new_context()
    context.add_init_script(HOOK)
    tab = context.new_page()
    tab.goto(path.as_uri(), wait_until="commit")  # what is not escaped may never end loading
    tab.wait_for_timeout(3000)
    live = tab.evaluate(TOUCH)
    text = tab.evaluate("document.documentElement.textContent")
    found = Seen(
        set(tab.evaluate("window.hits")),
        tab.evaluate("window.blocked"),
        live,
        {i for i, attack in enumerate(ATTACKS) if attack in text},
    )
    context.close()
    return found


def unescaped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(page, "_PAGES", page._PAGES.overlay(autoescape=False))
    patch.setattr(page, "json_for_script", json.dumps)


def unprotected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(page, "policy", lambda sources: "")


def test_no_script_in_any_text_runs_or_is_even_tried(
    browser: Browser, content: Mapping[str, Any], tmp_path: Path
) -> None:
    assert len(ATTACKS) >= 50
    found = seen(browser, content, tmp_path / "page.html")
    assert found == Seen(set(), [], 0, set(range(len(ATTACKS))))


def test_the_policy_alone_stops_every_script(
    browser: Browser, content: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unescaped(monkeypatch)
    found = seen(browser, content, tmp_path / "page.html")
    assert not found.hits
    assert found.live > 100
    assert len(found.blocked) > 100


def test_escaping_alone_stops_every_script(
    browser: Browser, content: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unprotected(monkeypatch)
    found = seen(browser, content, tmp_path / "page.html")
    assert found == Seen(set(), [], 0, set(range(len(ATTACKS))))


def test_without_both_the_scripts_run(
    browser: Browser, content: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unescaped(monkeypatch)
    unprotected(monkeypatch)
    assert len(seen(browser, content, tmp_path / "page.html").hits) > 25


def test_the_policy_allows_nothing_but_the_scripts_of_the_page() -> None:
    rules = dict(rule.split(" ", 1) for rule in page.policy(["a()"]).split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == page.hash_source("a()")
    for name, sources in rules.items():
        assert not {"'unsafe-eval'", "'unsafe-hashes'", "*", "https:", "http:"} & set(
            sources.split()
        )
        assert "'unsafe-inline'" not in sources or name == "style-src"
    assert rules.keys() >= {"base-uri", "form-action"}


def test_the_page_of_a_folder_is_escaped_too(
    browser: Browser, content: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (results, *_) = content["sweeps"].values()
    monkeypatch.setattr(pages, "figures_page", None)
    path = tmp_path / "page.html"
    path.write_text(pages.results_page(results, claims(), list(ATTACKS)))
    context = browser.new_context()
    context.add_init_script(HOOK)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate(TOUCH) == 0
    assert tab.evaluate("window.hits") == tab.evaluate("window.blocked") == []
    context.close()
