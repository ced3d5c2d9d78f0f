"""Wrong command lines, and parts of what is said of each.

The folder holds a valid sweep `s.yaml`, a `file`, a `folder`, and an `empty` folder.
"""

LONG = "a" * 300
NO_RESULTS = ["there are no results here", "Give the folder that `tfc run` wrote"]
FLAGS: list[tuple[str, list[str]]] = [
    ("--limit x", ["--limit", "whole number"]),
    ("--limit 0", ["--limit", "1"]),
    ("--limit 9999999999", ["--limit", "2147483647"]),
    ("--limit 1.5", ["--limit", "whole number"]),
    ("--limit nan", ["--limit", "whole number"]),
    ("--pack-width 0", ["--pack-width", "1"]),
    ("--pack-width 65537", ["--pack-width", "65536"]),
    ("--pack-width x", ["--pack-width", "whole number"]),
    ("--schedule fast", ["--schedule", "lockstep", "mapped"]),
    ("--max-memory 0", ["--max-memory", "0.001"]),
    ("--max-memory nan", ["--max-memory"]),
    ("--max-memory inf", ["--max-memory"]),
    ("--max-memory -inf", ["--max-memory"]),
    ("--max-memory x", ["--max-memory", "number"]),
    ("--workers -1", ["--workers", "0"]),
    ("--workers 1025", ["--workers", "1024"]),
    ("--workers x", ["--workers", "whole number"]),
    ("--workers", ["--workers", "argument"]),
    ("--wrokers 1", ["--wrokers", "--workers"]),
    ("--out file", ["--out: file is no folder.", "give another --out"]),
    ("--out file/x/y", ["--out: file is no folder."]),
    ("--out ", ["--out", "nothing came."]),
    (f"--out {LONG}", ["--out", "too long", "another path"]),
    ("--filter ", ["--filter: in '': not an expression."]),
    ("--filter depth", ["--filter: in 'depth'", "no condition"]),
    ("--filter dept>1", ["--filter", "Did you mean 'depth'?"]),
    ("--set depth", ["--set depth: not of the form key=value, such as depth=7."]),
    ("--set =", ["--set =: not of the form key=value"]),
    ("--set depth=", ["--set depth=: not of the form key=value"]),
    ("--set =3", ["--set =3: "]),
    ("--set dpeth=3", ["unknown key 'dpeth'. Did you mean 'depth'?"]),
    ("--set depth=nan", ["--set depth=nan"]),
    ("--set dataset=npz:~nobody_here/x.npz", ["npz:~nobody_here/x.npz"]),
    (f"--set dataset=npz:{LONG}", ["too long", "Give the path of an archive."]),
    (f"--set dataset=npz:{'a/' * 3000}", ["too long", "Give the path of an archive."]),
    ("--set dataset=npz:absent.npz", ["there is no file"]),
    ("--set dataset=npz:folder", ["there is no file"]),
    ("--set dataset=npz:file", ["npz:file"]),
    ("stray.yaml extra", ["stray.yaml"]),
]
RUN: list[tuple[str, list[str]]] = [
    *((f"--commit-seconds {x}", ["--commit-seconds"]) for x in ("nan", "inf", "-1", "x", "86401")),
    *((f"--compile-minutes {x}", ["--compile-minutes"]) for x in ("nan", "inf", "-1", "x", "1e9")),
    ("--workers 0 --compile-minutes 3", ["--compile-minutes: it has no effect with --workers 0"]),
    ("--executor rya", ["--executor", "Did you mean 'ray'?", "local, ray, slurm"]),
    ("--executor ray --workers 0", ["--workers: 0 came", "--executor ray"]),
    ("--executor slurm --compile-minutes 3", ["it has no effect with --executor slurm"]),
    ("--address x:1", ["--address: it has no effect without --executor ray"]),
    ("--executor slurm --connect-seconds 1", ["--connect-seconds: it has no effect"]),
    ("--executor ray --connect-seconds 0", ["--connect-seconds", "0.1"]),
    ("--slurm time=5", ["--slurm: it has no effect without --executor slurm"]),
    ("--executor slurm --slurm time", ["--slurm time: not of the form key=value"]),
    ("s.yaml --out x", ["--out: one folder came for several sweeps."]),
]
BENCH: list[tuple[str, list[str]]] = [
    *(
        (f"--seconds {x}", ["--seconds", "a number >= 0.1 and <= 3600"])
        for x in ("nan", "inf", "0", "x", "3601")
    ),
    ("--store", ["--store: nothing is compared without --schedules."]),
]
READERS = ("status", "ls", "show", "report", "fsck", "retry")
PLACES = ("absent", "file", "empty", "file/x")
OTHERS: list[tuple[list[str], list[str]]] = [
    *(
        ([c], ["Missing argument"])
        for c in ("validate", "plan", "run", "bench", "replay", *READERS)
    ),
    *(([c, place], NO_RESULTS) for c in READERS for place in PLACES),
    *(([c, LONG], ["RESULTS", "too long"]) for c in READERS),
    *(([c, ""], ["RESULTS", "nothing came."]) for c in READERS),
    *(([c, "empty", "--nope"], ["--nope"]) for c in READERS),
    (["retry", "empty", "--compile-minutes", "inf"], ["--compile-minutes"]),
    (["retry", "empty", "--executor", "rya"], ["Did you mean 'ray'?", "local, ray, slurm"]),
    (["retry", "empty", "--slurm", "time=5"], ["--slurm: it has no effect"]),
    (["retry", "empty", "--workers", "x"], ["--workers", "whole number"]),
    (["retry", "empty", "--workers", "0", "--compile-minutes", "1"], ["it has no effect"]),
    (["ls", "empty", "--limit", "0"], ["--limit"]),
    (["replay", "empty"], ["Missing argument", "RUN_ID"]),
    (["replay", "empty", "zz"], NO_RESULTS),
    (["report", "empty", "--out", "folder"], ["--out: folder is a folder."]),
    (["report", "empty", "--out", ""], ["--out", "nothing came."]),
    (["report", "empty", "--out", LONG], ["--out", "too long"]),
    (["data", "prepare"], ["Missing argument"]),
    (["data", "prepare", "mnits"], ["Did you mean 'mnist'?"]),
    (["data", "prepare", ""], ["unknown dataset ''.", "Available:"]),
    (["data", "prepare", "npz:absent.npz"], ["there is no file"]),
    (["data", "prepare", f"npz:{LONG}"], ["too long"]),
    (["data", "perpare", "mnist"], ["prepare"]),
    (["stauts", "empty"], ["Did you mean 'status'?"]),
    (["--nope"], ["--nope"]),
    (["doctor", "x"], ["x"]),
    (["init", "x"], ["x"]),
    (["schema", "--x"], ["--x"]),
    (["run", ""], ["this is no file", "Give the path of a sweep"]),
    (["validate", "s.yaml", "--limit", "1"], ["--limit"]),
]
