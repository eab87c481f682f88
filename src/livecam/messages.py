"""Parser errors, turned into one sentence that says what to do."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

# What jsonargparse says beside the cause: the branches of a union that the value did not take.
_NOISE = ("Expected a <class", "Expected a path but", "Not a valid subclass", "Subclass types expect", "Given value")


def one_sentence(message: str, words: Iterable[str] = ()) -> str:
    """Shorten an error of jsonargparse to its cause, with near matches for misspelt names.

    Args:
        message: What the parser says: causes and the value that was given, over many lines.
        words: Names that could have been meant: options, classes, arguments of classes.
    """
    words = list(words)
    if found := re.match(r"unrecognized arguments: (.*)", message):
        option = found[1].split()[0].split("=")[0]
        return f"There is no option {option}.{near(option, words)}"
    if found := re.search(r"arguments are required: (.*)", message):
        names = ", ".join(name.strip().split(".")[-1] for name in found[1].split(","))
        return (
            f"Missing: {names}. Give a configuration, such as -c configs/demo.yaml, or --{names.split(',')[0]} CLASS."
        )
    if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
        choices = re.findall(r"[\w.]+", found[2])
        return f"There is no command {found[1]!r}: use {', '.join(choices)}.{near(found[1], choices)}"
    where = re.search(r'Parser key "([^"]+)"', message)
    place = f"{where[1]}: " if where else ""
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return f"{place}There is no argument {found[1]!r}.{near(found[1], words)}"
    if found := re.search(r"Expected a dot import path string: (\S+)", message):
        return f"{place}There is no class {found[1]!r}.{near(found[1], words)}"
    if "\n" not in message:
        return message
    return place + _cause(message)


def near(word: str, known: Iterable[str]) -> str:
    """`` Did you mean …?`` for a misspelt word, or nothing."""
    close = get_close_matches(word, list(dict.fromkeys(known)), 3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _cause(message: str) -> str:
    """The line that names the cause: the first one that is not about another branch of a union."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()[1:]]
    lines = [line for line in lines if line and line != "Errors:"]
    told = [x for x in lines if not x.startswith((*_NOISE, "Does not validate", "Subtypes:", "a class path", "a dict"))]
    if told:
        return told[0]
    # Only the type was wrong: `Expected a <class 'float'>. Got value: abc`.
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", lines[0] if lines else message)
