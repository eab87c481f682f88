"""What is said to people: one sentence that says what to do, of letters that a terminal takes for letters."""

import re
from collections.abc import Iterable

from livecam.core.validation import suggest

# What jsonargparse says beside the cause: the branches of a union that the value did not take.
_NOISE = ("Expected a <class", "Expected a path but", "Not a valid subclass", "Subclass types expect", "Given value")

# Control characters, line ends, what turns the direction of writing, and halves of characters, as undecodable names
# of files hold them. Joiners stay: scripts and emoji need them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Write a text as one line that commands no terminal: a line end as backslash and n, other signs likewise."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_sentence(message: str, words: Iterable[str] = ()) -> str:
    """Shorten an error of jsonargparse to its cause, with near matches for misspelt names.

    Args:
        message: What the parser says: causes and the value that was given, over many lines.
        words: Names that could have been meant: options, classes, arguments of classes.
    """
    words = list(words)
    if match := re.match(r"unrecognized arguments: (.*)", message):
        option = match[1].split()[0].split("=")[0]
        return f"There is no option {option}.{suggest(option, words)}"
    if match := re.search(r"arguments are required: (.*)", message):
        names = ", ".join(name.strip().split(".")[-1] for name in match[1].split(","))
        return f"Missing: {names}. Give a configuration, as in -c configs/demo.yaml, or --{names.split(',')[0]} CLASS."
    if match := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
        choices = re.findall(r"[\w.]+", match[2])
        return f"There is no command {match[1]!r}: use {', '.join(choices)}.{suggest(match[1], choices)}"
    if match := re.search(r"does not accept option '([^']+)'", message):
        return f"There is no option {match[1]!r}.{suggest(match[1].rpartition('.')[2], words)}"
    if message.startswith("Problems parsing config:"):
        cause = message.partition(":")[2].replace('in "<unicode string>",', "at")
        return f"The configuration cannot be read: {' '.join(cause.split())}."
    if message.startswith("Unexpected config:"):
        return "The configuration should hold names and their values, as configs/demo.yaml does, and does not."
    where = re.search(r'Parser key "([^"]+)"', message)
    place = f"{where[1]}: " if where else ""
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        near = suggest(match[1], [word for word in words if word != match[1]])
        return f"{place}There is no argument {match[1]!r}.{near} Names that changed are in CHANGELOG.md."
    if match := re.search(r"Expected a dot import path string: (\S+)", message):
        return f"{place}There is no class {match[1]!r}.{suggest(match[1], words)}"
    if "\n" not in message:
        return message
    return place + _cause(message)


def _cause(message: str) -> str:
    """The line that names the cause: the first one that is not about another branch of a union."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()[1:]]
    lines = [line for line in lines if line and line != "Errors:"]
    causes = [
        x for x in lines if not x.startswith((*_NOISE, "Does not validate", "Subtypes:", "a class path", "a dict"))
    ]
    if causes:
        return causes[0]
    # Only the type was wrong: `Expected a <class 'float'>. Got value: abc`.
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", lines[0] if lines else message)
