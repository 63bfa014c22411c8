"""docs/drills.md: its tables are what the drills came to.

`python -m tests.support.drills_page` plays them all and writes the tables anew.
"""

import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio

from tests.support import drilling, drills
from tests.support.drills import Drill, Row

PAGE = Path(__file__).parents[2] / "docs" / "drills.md"
_TABLE = re.compile(r"<!-- (bench|gateways): begin -->\n.*?<!-- \1: end -->\n", re.DOTALL)
_HEADS = {
    "bench": ["id", "fault", "the caller gets", "requests, and what follows", "verdict", "by the letter"],
    "gateways": ["drill", "fault", "the caller gets", "requests, and what follows", "verdict"],
}


def rows() -> dict[str, Row]:
    """The lines of the page, by name."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    heads = {head[0] for head in _HEADS.values()} | {"---"}
    return {line[0]: Row(*line) for line in lines if line[0] not in heads}


def written(page: str, bench: Iterable[Row], gateways: Iterable[Row]) -> str:
    """The page with these tables."""
    tables = {"bench": [list(one) for one in bench], "gateways": [list(one[:-1]) for one in gateways]}

    def table(found: re.Match[str]) -> str:
        name = found[1]
        lines = [_HEADS[name], ["---"] * len(_HEADS[name]), *tables[name]]
        grid = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"<!-- {name}: begin -->\n\n{grid}\n\n<!-- {name}: end -->\n"

    return _TABLE.sub(table, page)


def main() -> None:
    with drilling.theatre() as portal, ThreadPoolExecutor(6) as pool, tempfile.TemporaryDirectory() as folder:

        def played(drill: Drill) -> Row:
            place = Path(folder) / drill.name
            place.mkdir(parents=True)
            return drills.row(drill, drilling.play(portal, drill, "chat", place))

        bench = [*pool.map(played, drills.BENCH), anyio.run(drilling.flap, Path(folder))]
        gateways = list(pool.map(played, drills.GATEWAYS))
    PAGE.write_text(written(PAGE.read_text(), sorted(bench), gateways))


if __name__ == "__main__":
    main()
