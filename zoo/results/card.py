"""A model's card: where it is from, what is published of it, and what was measured here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from evaluator.errors import InputError, ResultError
from evaluator.metrics.all_figures import figure_named
from evaluator.metrics.figure import Figure
from evaluator.metrics.text import interval_after
from evaluator.results.choice import contestants, labelled, variant_of, variant_words
from evaluator.results.cost import costs_of
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored, read_store
from evaluator.statistics.shared_pairs import Scored
from zoo.entries.registry import Entry
from zoo.results import cost_text, groups_text, verification
from zoo.results.groups import GroupsAsked, report_groups
from zoo.terminal.blocks import Block, markdown_blocks
from zoo.terminal.escaped import markdown

_ON_BINS = ("kfold", "accuracy", "tar@1e-3", "eer", "auc")
_ON_SETS = ("tar@1e-4", "tar@1e-3", "rank1", "tpir@0.1", "tpir@0.01")
# What Hugging Face calls a licence; any other is "other", with its name.
_LICENCES = {"apache-2.0": "apache-2.0", "mit": "mit", "bsd-3": "bsd-3-clause"}


def card_of(
    entry: Entry,
    facts: Sequence[tuple[str, str]],
    folder: Path,
    *,
    by: Path | None,
    bins: list[str],
) -> str:
    """Markdown on an entry, with the front matter that Hugging Face reads.

    ``facts`` are names and values, as `zoo show` says them. Figures, their intervals and costs are
    those that a folder of results has of the entry's very file; groups are told ``by`` a table, on
    these ``bins``. Raises InputError for a wrong table, OSError.
    """
    store = read_store(folder)
    stored = sorted(verification.results_of_entry(entry, store), key=_order)
    parts = [_front_matter(entry, dict(facts).get("licence"), stored), f"# {entry.name}\n"]
    parts.append(_table_of(entry, facts))
    if entry.published:
        checks = verification.stored_checks(entry, store)
        parts.append(_section("Published figures", verification.blocks_of(checks)))
    for title, names, of_set in (("bins", _ON_BINS, False), ("template sets", _ON_SETS, True)):
        own = [each for each in stored if (each.result.bin.kind is not None) == of_set]
        if own:
            parts.append(_section(f"Measured on {title}", [_measured(own, names)]))
    if not stored:
        parts.append("## Measured\n\nNothing of this very file is stored.\n")
    models = dict.fromkeys((each.result.model.name, each.result.model.identity) for each in stored)
    costs = [cost for model in models for cost in costs_of(folder, model)[0]]
    if costs:
        parts.append(_section("Cost", cost_text.blocks_of(costs)))
    if by is not None:
        wanted = [each for each in stored if not bins or each.result.bin.name in bins]
        if not wanted:
            raise InputError(f"--by {by}: no result of {entry.name} on such bins in {folder}")
        found = report_groups(labelled(contestants(wanted)), GroupsAsked(by=by))
        parts.append(_section("Groups of people", groups_text.blocks_of(found)))
    return "\n".join(parts)


def _order(each: Stored) -> tuple[str, str, str]:
    return each.result.bin.name, each.result.bin.sha256, variant_of(each.result).words()


def _table_of(entry: Entry, facts: Sequence[tuple[str, str]]) -> str:
    """The facts but those that have sections of their own; of the file the name alone."""
    lines = ["| | |", "|---|---|"]
    for name, value in facts:
        if name not in ("entry", "published"):
            said = entry.file.name if name == "file" else value
            is_link = name == "url" and not set(value) & set(" <>|")
            lines.append(f"| {markdown(name)} | {f'<{value}>' if is_link else markdown(said)} |")
    return "\n".join(lines) + "\n"


def _section(title: str, blocks: Sequence[Block]) -> str:
    return f"## {title}\n\n{markdown_blocks(blocks)}"


def _measured(stored: Sequence[Stored], names: Sequence[str]) -> Block:
    """A row a result: figures in percent, with 95 % intervals."""
    figures = [figure_named("", name) for name in names]
    rows, notes = [], []
    for each in stored:
        result = each.result
        words = variant_words(variant_of(result), result.model.format) or "usual"
        try:
            scored = Scored(result, load_scores(each.path, result)) if result.figures else None
        except ResultError as error:
            scored = None
            notes.append(f"{result.bin.name}: no interval: {re.sub(r'^.*?: ', '', str(error))}")
        head = f"{result.bin.name} ({result.bin.sha256[:8]})", words, f"{result.bin.pairs:,}"
        rows.append((*head, *(_cell(figure, each, scored) for figure in figures)))
        if result.failed.pairs:
            notes.append(f"{result.bin.name}: {result.failed.words}")
        if result.figures is None:
            notes.append(f"{result.bin.name}: embeddings that are not finite; nothing is scored")
    zoo = dict.fromkeys(each.result.versions.get("zoo", "?") for each in stored)
    last = max(each.result.created for each in stored)[:10]
    notes.append(f"measured by face-zoo {', '.join(zoo)}, last on {last}")
    header = ("bin", "settings", "pairs", *(figure.label for figure in figures))
    return Block("Figures with their 95 % intervals", header, tuple(rows), tuple(notes), words=2)


def _cell(figure: Figure, each: Stored, scored: Scored | None) -> str:
    value = figure.read(each.result.figures)
    if value is None:
        return "-"
    ends = None if scored is None else scored.interval_of(figure)
    return figure.digits(value) + interval_after(ends, figure.digits)


# ---- Front matter --------------------------------------------------------------------------------


def _front_matter(entry: Entry, licence: str | None, stored: Sequence[Stored]) -> str:
    """YAML between lines of dashes: licence, tags, and as ``model-index`` what was measured."""
    known = _LICENCES.get((licence or "").lower())
    found: dict[str, Any] = {"license": known or "other"} if licence else {}
    if licence and known is None:
        found["license_name"] = licence
    found["tags"] = ["face-recognition", "face-verification"]
    results = [_indexed(each) for each in stored]
    if any(results):
        own = [each for each in results if each]
        found["model-index"] = [{"name": entry.name, "results": own}]
    return f"---\n{yaml.safe_dump(found, sort_keys=False, allow_unicode=True)}---\n"


def _indexed(each: Stored) -> dict[str, Any] | None:
    """A result as ``model-index`` has it; None without figures."""
    result = each.result
    names = _ON_BINS if result.bin.kind is None else _ON_SETS
    metrics = []
    for name in names:
        figure = figure_named("", name)
        value = figure.read(result.figures)
        if value is not None:
            metrics.append({"type": name, "name": figure.label, "value": value})
    words = variant_words(variant_of(result), result.model.format)
    dataset = {"name": result.bin.name, "type": result.bin.name, "revision": result.bin.sha256}
    return (
        {
            "task": {
                "type": "face-verification",
                "name": f"Face verification{words and f', {words}'}",
            },
            "dataset": dataset,
            "metrics": metrics,
        }
        if metrics
        else None
    )
