"""`droptune completion`: a script that has a shell complete commands and options; made of the parser.

Words that are no option are completed as files, as the shell does by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cli.frame import Listed

SHELLS = ("bash", "zsh", "fish")
_HOW = """to have it in every shell:
  bash  echo 'eval "$(droptune completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(droptune completion zsh)"' >> ~/.zshrc
  fish  droptune completion fish > ~/.config/fish/completions/droptune.fish
"""


class Option(NamedTuple):
    """An option: its names, whether a value follows it, the values that it may have if they are few, its help."""

    names: tuple[str, ...]
    valued: bool
    choices: tuple[str, ...]
    help: str


class Command(NamedTuple):
    """A command by its words (`local up`), or with none the whole: its sentence, what may follow, its options."""

    words: tuple[str, ...]
    sentence: str
    next: tuple[str, ...]
    """Commands, or the values that its first word may have."""
    options: tuple[Option, ...]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds this command to the parser."""
    command = commands.add_parser(
        "completion",
        help="a script that has your shell complete commands and options",
        epilog=_HOW,
        formatter_class=Listed,
    )
    command.add_argument("shell", choices=SHELLS, help="your shell")
    command.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> int:
    from cli.say import say

    for line in script(options.shell).splitlines():
        say(line)
    return 0


def script(shell: str) -> str:
    """The script for one of SHELLS."""
    made = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return made[shell](known())


def known() -> list[Command]:
    """Every command with its options, those of the local cloud among them."""
    from cli.__main__ import parser

    return [each for each in _walked(parser(), (), "") if each.words != ("local",)] + list(_of_local())


def _of_local() -> Iterator[Command]:
    from cli.local import own_parser

    yield from _walked(own_parser(), ("local",), "the local cloud")


def _walked(parser: argparse.ArgumentParser, words: tuple[str, ...], sentence: str) -> Iterator[Command]:
    below: Mapping[str, argparse.ArgumentParser] = {}
    sentences: dict[str, str] = {}
    values: tuple[str, ...] = ()
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices
            sentences = {each.dest: each.help or "" for each in action._choices_actions}
        elif not action.option_strings:
            values = values or tuple(map(str, action.choices or ()))
        else:
            help_ = parser._get_formatter()._expand_help(action) if action.help else ""
            choices = tuple(map(str, action.choices or ()))
            options.append(Option(tuple(action.option_strings), action.nargs != 0, choices, help_))
    yield Command(words, sentence, (*below, *values), tuple(options))
    for name, each in below.items():
        yield from _walked(each, (*words, name), sentences.get(name, ""))


# bash and zsh --------------------------------------------------------------------------------------------------------


def _table(commands: list[Command]) -> str:
    """A `case` of the words so far: what may follow, the options, those of them that a value follows."""
    rows = []
    for each in commands:
        names = " ".join(name for option in each.options for name in option.names)
        valued = " ".join(name for option in each.options if option.valued for name in option.names)
        rows.append(
            f'        "{" ".join(each.words)}") next="{" ".join(each.next)}" options="{names}" valued="{valued}" ;;'
        )
    return "\n".join(rows)


def _values(commands: list[Command]) -> str:
    """A `case` of the options whose values are few."""
    found = {
        (" ".join(each.words), name): option.choices
        for each in commands
        for option in each.options
        if option.choices
        for name in option.names
    }
    rows = [f'        "{words} {name}") next="{" ".join(choices)}" ;;' for (words, name), choices in found.items()]
    return "\n".join(rows)


def _bash(commands: list[Command]) -> str:
    return f"""# Completion of droptune for bash: eval "$(droptune completion bash)"
_droptune_known() {{
    case "$1" in
{_table(commands)}
        *) return 1 ;;
    esac
}}
_droptune_values() {{
    case "$1" in
{_values(commands)}
        *) next="" ;;
    esac
}}
_droptune() {{
    local next="" options="" valued="" words="" word skip="" last="" current="${{COMP_WORDS[COMP_CWORD]}}"
    _droptune_known ""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        last=""
        if [[ -n $skip ]]; then
            skip=""
        elif [[ $word == -* ]]; then
            if [[ " $valued " == *" $word "* ]]; then skip=1 last=$word; fi
        elif _droptune_known "${{words:+$words }}$word"; then
            words="${{words:+$words }}$word"
        else
            next=""
        fi
    done
    COMPREPLY=()
    if [[ -n $last ]]; then
        _droptune_values "$words $last"
        COMPREPLY=($(compgen -W "$next" -- "$current"))
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$next" -- "$current"))
    fi
}}
complete -o default -F _droptune droptune
"""


def _zsh(commands: list[Command]) -> str:
    return f"""#compdef droptune
# Completion of droptune for zsh: eval "$(droptune completion zsh)"
_droptune_known() {{
    case "$1" in
{_table(commands)}
        *) return 1 ;;
    esac
}}
_droptune_values() {{
    case "$1" in
{_values(commands)}
        *) next="" ;;
    esac
}}
_droptune() {{
    local next="" options="" valued="" typed="" word skip="" last="" current="${{words[CURRENT]}}"
    _droptune_known ""
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        last=""
        if [[ -n $skip ]]; then
            skip=""
        elif [[ $word == -* ]]; then
            if [[ " $valued " == *" $word "* ]]; then skip=1 last=$word; fi
        elif _droptune_known "${{typed:+$typed }}$word"; then
            typed="${{typed:+$typed }}$word"
        else
            next=""
        fi
    done
    if [[ -n $last ]]; then
        _droptune_values "$typed $last"
    elif [[ $current == -* ]]; then
        next=$options
    fi
    if [[ -n $next ]]; then
        compadd -- ${{=next}}
    else
        _files
    fi
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
compdef _droptune droptune
"""


# fish ----------------------------------------------------------------------------------------------------------------


def _fish(commands: list[Command]) -> str:
    lines = ["# Completion of droptune for fish: droptune completion fish > ~/.config/fish/completions/droptune.fish"]
    sentences = {each.words: each.sentence for each in commands}
    for each in commands:
        seen = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in each.words)
        unseen = f"not __fish_seen_subcommand_from {' '.join(each.next)}" if each.next else ""
        condition = " ; and ".join(part for part in (seen, unseen) if part)
        for name in each.next:
            told = _quoted(sentences.get((*each.words, name), ""))
            lines.append(f"complete -c droptune -n {_quoted(condition)} -a {name} -d {told}")
        for option in each.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else " -r" if option.valued else ""
            where = _quoted(condition if each.next else seen)
            lines.append(f"complete -c droptune -n {where} {names}{value} -d {_quoted(option.help)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """As one word of fish."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
