import ast
import inspect
from pathlib import Path

import intact
from intact import errors


def test_the_public_names_are_sorted_and_exist():
    assert intact.__all__ == sorted(intact.__all__)
    assert all(hasattr(intact, name) for name in intact.__all__)


def test_the_tree_at_the_top_of_errors_shows_every_error():
    raised = [n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)]
    assert all(name in errors.__doc__ for name in raised)


FLOORS = (
    {
        "image",
        "scores",
        "errors",
        "losses",
        "train",
        "metrics",
        "progress",
        "precision",
        "_version",
        "filters",
        "bottom_sample",
        "coreset",
        "noise",
        "residual",
        "digest",
        "configure",
        "learner",
    },
    {"io", "rows", "store", "report", "engine", "findings"},
    {"data", "nets"},
    {"anomaly", "segment", "forge", "forensics", "classify", "model", "regions", "imitations", "start"},
    {
        "screener",
        "explain",
        "examiner_desk",
        "genuine",
        "examiner_model",
        "teach",
        "fit",
        "meta",
        "choose",
        "ensemble",
        "screen",
        "evaluate",
        "protect",
        "bank",
        "bench",
    },
    {
        "demo",
        "cli",
        "cli_bank",
        "cli_bench",
        "cli_bench_anomaly",
        "cli_choose",
        "cli_classify",
        "cli_forge",
        "cli_keys",
        "cli_protect",
        "cli_record",
        "cli_bench_forensics",
        "cli_segment",
        "cli_shared",
        "cli_start",
        "cli_teach",
        "cli_variant",
        "__main__",
    },
)


def test_no_file_reaches_up():
    """Imports go down the floors of the house, or stay on one floor."""
    root = Path(intact.__file__).parent
    height = {name: i for i, floor in enumerate(FLOORS) for name in floor}
    for path in root.rglob("*.py"):
        own = path.relative_to(root).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("intact."):
                used = node.module.split(".")[1]
                assert height[used] <= height[own], f"{path} imports {node.module}"
