"""What the folder of results answers of a request, so that it need not be measured."""

from __future__ import annotations

from evaluator.errors import ResultError
from evaluator.models.options import LoadOptions
from evaluator.results.measured import Measured, folders_of_name
from evaluator.results.reading_rules import measured_by
from evaluator.results.record import Result, reading_problem
from evaluator.results.store import load_result
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.request import Request
from zoo.terminal.words import warn


def may_be_stored(choice: ModelChoice, request: Request) -> bool:
    """Whether the store has a folder of a model of this name, be it another file's."""
    if request.fresh or not request.results.is_dir():
        return False
    return bool(folders_of_name(request.results.iterdir(), choice.name))


def _has_facts(result: Result, request: Request) -> bool:
    from evaluator.results.set_facts import set_facts_path

    return result.scores is None or set_facts_path(request.results, result.bin.sha256).is_file()


def _lacks_sizes(result: Result) -> bool:
    figures = result.figures or {}
    return figures.get("identification") is not None and "gallery_sizes" not in figures


def stored_answer(measured: Measured, options: LoadOptions, request: Request) -> Result | None:
    """The stored result if it is whole, of this very model, bin and settings, and still stands.

    ``options`` are how the model would be loaded. What is no result, or was measured by older
    rules, is said on stderr.
    """
    if request.fresh:
        return None
    path = measured.path_in(request.results)
    try:
        result = load_result(path)
    except FileNotFoundError:
        return None
    except ResultError as error:
        warn(f"zoo: measured again: {error}")
        return None
    record, input = result.model, result.model.input
    asked = (
        # The path shortens names, and has eight digits of hashes, which another model can share;
        (record.name, record.identity) == measured.model
        and result.bin.sha256 == measured.bin[1]
        and result.settings == measured.settings
        # nor does it have an entry's size, which may have been edited,
        and (options.size is None or input.get("size") == list(options.size))
        # nor what a model of whole numbers took where nothing was asked, which is refused if it is.
        and options.profile in (None, input.get("range"))
        and (result.scores is None or path.with_name(result.scores).is_file())
        and (result.bin.kind is None or _has_facts(result, request))
        and not (request.gallery_sizes and _lacks_sizes(result))
    )
    if asked and reading_problem(result) is not None:
        warn(f"zoo: measured again: {path}: {measured_by(result.reading)}")
        return None
    return result if asked else None
