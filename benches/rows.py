"""The rows of JSON that the benchmarks print and report.py reads."""
import json
import statistics


def row(what, peer, ours, theirs, unit, goal=None):
    """Prints one: the medians, how many times better ours is, and the smallest and largest of each side."""
    def middle(values):
        return round(statistics.median(values), 2) if values else None

    def spread(values):
        return [round(min(values), 2), round(max(values), 2)] if values else None

    mine, other = middle(ours), middle(theirs)
    worse, better = (mine, other) if unit.endswith("/s") else (other, mine)
    ratio = worse / better if better and worse is not None else None
    print(json.dumps({
        "what": what, "peer": peer, "ours": mine, "theirs": other, "unit": unit,
        "ratio": ratio and round(ratio, 1 if ratio >= 10 else 2),
        "spread": {"ours": spread(ours), "theirs": spread(theirs)}, "goal": goal,
    }), flush=True)
