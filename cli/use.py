"""`droptune ask`, `url`: a line's endpoint, asked from here, and how it is asked from elsewhere.

The app says where the endpoint is and which rows were held out; the key is asked of Azure, with the rights of whoever
typed the command (cli/endpoint_key.py). Called by `__main__`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.client_options import OF_LINE, add_client_options, client_of, local_state_of
from cli.errors import CliError
from cli.say import complain, escaped, say, say_json, titled

if TYPE_CHECKING:
    from cli.client import AppClient
    from cli.endpoint_key import Door
    from cli.scoring import AskedView, GivenView
    from shared.api.schema import LineView, QuestionView

EXAMPLE = [{"role": "user", "content": "Hello! What can you tell me?"}]
"""What snippets ask."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds these commands to the parser."""
    ask = commands.add_parser(
        "ask",
        help="asks a line's endpoint a held-out row, or a text of your own",
        epilog=_SAMPLED + _EXITS.format(what="answered"),
    )
    ask.add_argument("name", metavar="LINE", help=OF_LINE)
    what = ask.add_mutually_exclusive_group()
    what.add_argument("text", metavar="TEXT", nargs="?", help="what to ask; - reads it from standard input")
    what.add_argument("--row", metavar="N", type=_row, help="the held-out row of that number, from 1")
    what.add_argument("--random-row", action="store_true", help="any held-out row (the default)")
    ask.add_argument("--both", action="store_true", help="the version that is being checked, and the one that serves")
    ask.set_defaults(run=_ask)
    url = commands.add_parser(
        "url", help="where a line's endpoint is asked", epilog=_EXITS.format(what="something answers there")
    )
    url.add_argument("name", metavar="LINE", help=OF_LINE)
    how = url.add_mutually_exclusive_group()
    how.add_argument("--curl", action="store_true", help="a curl command that asks it, to be pasted")
    how.add_argument("--python", action="store_true", help="Python code that asks it, to be pasted")
    url.add_argument("--show-key", action="store_true", help="with the endpoint's key, asked of Azure as you")
    url.set_defaults(run=_url)
    for command in (ask, url):
        add_client_options(command)


_SAMPLED = "As in the notebook the model answers with temperature 0.6, so that its answer may differ each time. "
_EXITS = "Exit code: 0 {what}, 1 not, 2 the command can't be carried out."


def _row(text: str) -> str:
    """A row's number. Raises what argparse tells."""
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1")
    return text


# ask -----------------------------------------------------------------------------------------------------------------


def _ask(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.endpoint_key import Gone, door_of, manager_of
    from cli.scoring import AskedView

    text = _text(options.text)
    client = client_of(options)
    line = client.line(options.name)
    asked, notes = _versions(client, line, both=options.both)
    if not asked:
        complain(f"{_nobody(line)}; {notes[0]}" if notes else _nobody(line))
        return 1
    question = _own(text) if text is not None else client.question(options.name, options.row or "")
    _told_address(line)
    try:
        door = door_of(manager_of(line.address, local_state_of(client, options)), line.endpoint_id)
    except Gone as gone:
        complain(f"{gone}: droptune revive {shlex.quote(options.name)} serves again what it served")
        return 1
    given = [_given(door, question, each, by_name=options.both) for each in asked]
    view = AskedView(
        run=question.run,
        number=question.number,
        count=question.count,
        question=question.question,
        expected=question.expected,
        line=line.id,
        endpoint=line.endpoint,
        answers=given,
    )
    if options.json:
        say_json(as_json(view))
        for note in notes:
            complain(note)
    else:
        _show(view, notes, both=options.both)
    for each in given:
        if each.error:
            complain(each.error)
    return 1 if any(each.error for each in given) else 0


def _text(given: str | None) -> str | None:
    """What somebody wants to ask; None: a held-out row. Raises CliError."""
    from shared.naming import is_unicode

    if given is None:
        return None
    if given == "-":
        try:
            given = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise CliError(f"standard input is no UTF-8: {error.reason} at byte {error.start}") from None
    if not is_unicode(given):
        raise CliError("the text to ask is no Unicode: type it anew, or give it as UTF-8 on standard input with -")
    if not given.strip():
        raise CliError("the text to ask is empty: leave it out for a held-out row")
    return given


def _own(text: str) -> QuestionView:
    from shared.api.schema import QuestionView

    return QuestionView(run="", number=0, count=0, question=[{"role": "user", "content": text}], expected="")


def _versions(client: AppClient, line: LineView, *, both: bool) -> tuple[list[GivenView], list[str]]:
    """Who is to be asked, without answers yet, and why somebody who was wanted is not. Raises CliError."""
    from cli.scoring import GivenView

    serving = line.serving
    live = [GivenView(which="live", deployment=serving.deployment, run=serving.run)] if serving else []
    if not both:
        return live, []
    if not line.rollout:
        return live, ["there is no new version that is being checked"]
    run = client.run(line.rollout)
    if run.deployment is None or run.run.phase != "checking":
        return live, [f"the new version can't be asked yet: run {line.rollout} is {run.run.phase}"]
    new = GivenView(which="new", deployment=run.deployment.name, run=line.rollout)
    notes = [] if live else ["nothing serves yet"]
    if run.run.hold == "approval":
        notes.append(f"next: droptune approve {line.rollout}")
    return [new, *live], notes


def _nobody(line: LineView) -> str:
    """Why nobody answers for a line, with the command that ends that."""
    name = shlex.quote(line.folder if _is_plain(line.folder) else line.id)
    if line.latest is None and not line.seen:
        if line.newest or line.rollout:
            run = line.rollout or line.newest
            return f"line {line.id} has served nothing yet: droptune watch {run} shows how far its first version is"
        why = f"droptune runs --folder {shlex.quote(line.folder)} shows why"
        return f"line {line.id} has served nothing yet: {why}"
    again = f"droptune revive {name} serves it again"
    if line.rollout and not line.seen:
        going = f"droptune watch {line.rollout} shows how far it is"
        return f"line {line.id} serves nothing while run {line.rollout} is rolled out: {going}"
    if line.seen:
        return f"line {line.id} does not answer: {line.seen}: {again}"
    match line.state:
        case "tearing_down":
            return f"line {line.id} is being torn down, as nobody used it: {again}"
        case "removed":
            return f"line {line.id} is torn down, its endpoint too: {again}"
    return f"line {line.id} is torn down and costs nothing; its endpoint {line.endpoint} keeps its address: {again}"


def _is_plain(folder: str) -> bool:
    """Whether it can be typed as it is shown."""
    return bool(folder) and folder == escaped(folder)


def _told_address(line: LineView) -> None:
    """Raises CliError where the app could not see the endpoint, which it says serves."""
    if not (line.address and line.endpoint_id):
        raise CliError(
            f"the app can't tell where endpoint {line.endpoint} is, as it can't ask Azure now: try again in a moment "
            "(droptune lines says why)"
        )


def _given(door: Door, question: QuestionView, whom: GivenView, *, by_name: bool) -> GivenView:
    """What one version answers; not `by_name`: whoever the traffic gets to, as with everybody's calls."""
    import msgspec

    from cli.scoring import Unanswered, answer

    try:
        with _waiting(f"asking {door.endpoint}"):
            text, who = answer(door, question.question, whom.deployment if by_name else "")
    except Unanswered as error:
        return msgspec.structs.replace(whom, error=str(error))
    if who and who != whom.deployment:  # somebody's own, that has a share of the traffic
        return msgspec.structs.replace(whom, answer=text, deployment=who, run="")
    return msgspec.structs.replace(whom, answer=text)


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Says what is waited for on standard error while the block runs, if that is a terminal; then it is gone."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.text import Text

    from cli.screen import console_of, redraws

    console = console_of(stderr=True)
    if not redraws(console):
        yield
        return
    with console.status(Text(escaped(what))):
        yield


def _show(view: AskedView, notes: list[str], *, both: bool) -> None:
    """The question, the answers, and what was expected beside them."""
    if view.count:
        _part("row", f"{view.number} of {view.count} that were held out, of run {view.run}")
    turns = view.question
    if len(turns) == 1:
        _part("question", turns[0].get("content", ""))
    else:
        for number, turn in enumerate(turns):
            _part("" if number else "question", f"{turn.get('role', '')}: {turn.get('content', '')}")
    for each in view.answers:
        title = each.which if both else "answer"
        _part(title, "no answer" if each.error else each.answer)
    if view.expected:
        _part("expected", view.expected)
    if both:
        _part("asked", "; ".join(f"{each.which}: deployment {each.deployment}" for each in view.answers))
    for note in notes:
        say(note)


def _part(title: str, text: str) -> None:
    """A title and a text beside it: others' lines stay to the right of it, so that none passes for a title."""
    for number, line in enumerate(text.split("\n")):
        titled("" if number else title, line)


# url -----------------------------------------------------------------------------------------------------------------


def _url(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.endpoint_key import Gone

    if options.json and (options.show_key or options.curl or options.python):
        raise CliError("--json goes with none of --curl, --python and --show-key: a key is never in it")
    client = client_of(options)
    line = client.line(options.name)
    if options.json:
        say_json(as_json(line))
    elif line.serving or line.address:
        _told_address(line)
        try:
            lines = _shown_url(options, line, local_state_of(client, options))
        except Gone as gone:
            complain(f"{gone}: droptune revive {shlex.quote(options.name)} serves again what it served")
            return 1
        for each in lines:
            say(each)
        if not options.show_key:
            _tell_of_key(options)
    if line.serving is None:
        complain(_nobody(line))
        return 1
    return 0


def _shown_url(options: argparse.Namespace, line: LineView, state: Path) -> list[str]:
    """The lines on standard output. Raises CliError and Gone."""
    from cli import snippets
    from cli.endpoint_key import door_of, manager_of
    from cli.local_identity import local_cloud_of
    from shared.serving.payload import scoring_payload

    key, address = "", line.address
    if options.show_key:
        door = door_of(manager_of(address, state), line.endpoint_id)
        key, address = door.secret, door.address
    if not (options.curl or options.python):
        return [address, key] if key else [address]
    local = local_cloud_of(address, state)
    snippet = snippets.curl if options.curl else snippets.python
    return snippet(address, scoring_payload(EXAMPLE), key=key, ca=local.ca.resolve() if local else None)


def _tell_of_key(options: argparse.Namespace) -> None:
    """How the key comes into the variable that snippets take it from: on standard error, away from what is pasted."""
    from cli.snippets import VARIABLE

    if not (options.curl or options.python):
        return
    words = ["droptune", "url", options.name, "--show-key"]
    words += ["--url", options.url] if options.url else []
    words += ["--app", options.app] if options.app else []
    words += ["--state", str(options.state)] if options.state else []
    complain(f'its key: export {VARIABLE}="$({shlex.join(words)} | tail -n 1)"')
