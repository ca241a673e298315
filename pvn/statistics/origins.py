"""Lists the rows behind the numbers of a report, and where the report links to."""

from collections import defaultdict
from collections.abc import Sequence

from pvn.statistics.page import Origin, Origins
from pvn.statistics.sources import Source
from pvn.statistics.summary import Result
from pvn.statistics.tables import Anchors, agent_label


def origins(results: Sequence[Result], sources: Sequence[Source]) -> tuple[list[Origins], Anchors]:
    """The rows of each (agent, head), by game, and the anchors of the lists.

    Anchors are numbers in the order of the report: names may hold any letter. The rows of a probe
    belong to features, so they are listed with each head.
    """
    found: defaultdict[tuple[str, str], list[Source]] = defaultdict(list)
    for source in sources:
        found[source.group.agent, source.group.game].append(source)
    pairs: defaultdict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        pairs[result.agent, result.head].append(result)

    parts: list[Origins] = []
    anchors: dict[tuple[str, ...], str] = {}
    for number, (pair, here) in enumerate(pairs.items(), 1):
        agent, head = pair
        anchors[pair] = f"rows-{number}"
        games = []
        for index, result in enumerate(here, 1):
            anchor = f"rows-{number}-{index}"
            anchors[agent, head, result.game] = anchor
            rows = [
                (_what(source), source.text)
                for source in found[agent, result.game]
                if source.group.head in (head, "")
            ]
            games.append(Origin(anchor, result.game, rows))
        parts.append(Origins(anchors[pair], agent_label(*pair), games))
    return parts, anchors


def _what(source: Source) -> str:
    """For example "eval at 1,000 agent steps, seed 0, 100 rows"."""
    group = source.group
    words = group.what if group.head else f"probe {group.what}"
    if group.agent_step is not None:
        words += f" at {group.agent_step:,} agent steps"
    rows = "1 row" if source.num_rows == 1 else f"{source.num_rows:,} rows"
    return f"{words}, seed {group.seed}, {rows}"
