"""A reader of the Bicep that infra/ is written in. What it can't read is an error with its line, never left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.kit.infra.syntax import (
    BicepError,
    Binary,
    Call,
    Choice,
    Fields,
    For,
    Index,
    Items,
    Literal,
    Member,
    Module,
    Name,
    Node,
    Not,
    Param,
    Resource,
    Template,
    Text,
    Value,
)

# Reading -------------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|//[^\n]*|/\*.*?\*/)|(?P<end>\n)|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)|(?P<quote>')"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||\?\?|[-+*/%<>=!?:.,(){}\[\]@])",
    re.DOTALL,
)
_PIECE = re.compile(r"[^'\\$\n]+|\\(?P<escaped>[\\'nrt$])|\$(?!\{)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_SIGNS = (("??",), ("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))
"""From what binds least to what binds most."""
_TRUE = Literal(True)


@dataclass(frozen=True)
class _Token:
    kind: str
    """`name`, `number`, `text`, `sign`, `end` of a line, or `eof`."""
    text: str
    line: int
    pieces: tuple[str | Node, ...] = ()

    def __str__(self) -> str:
        return {"end": "the end of the line", "eof": "the end", "text": "a text"}.get(self.kind, self.text)


class _Reader:
    def __init__(self, source: str, where: str, line: int = 1) -> None:
        self._source, self._where, self._line, self._at = source, where, line, 0
        self._tokens = [*self._cut(), _Token("eof", "", self._line)]
        self._next = 0

    # Tokens

    def _cut(self) -> Iterator[_Token]:
        while self._at < len(self._source):
            found = _TOKEN.match(self._source, self._at)
            if found is None:
                raise self._wrong(f"can't read {self._source[self._at : self._at + 20]!r}", self._line)
            self._at, line = found.end(), self._line
            self._line += found[0].count("\n")
            if found.lastgroup == "quote":
                yield _Token("text", "", line, tuple(self._text()))
            elif found.lastgroup != "space":
                yield _Token(str(found.lastgroup), found[0], line)

    def _text(self) -> Iterator[str | Node]:
        """The pieces of a text, up to the quote that ends it."""
        while not self._source.startswith("'", self._at):
            if self._source.startswith("${", self._at):
                end = self._closing(self._at + 2)
                yield _Reader(self._source[self._at + 2 : end], self._where, self._line).alone()
                self._at = end + 1
                continue
            found = _PIECE.match(self._source, self._at)
            if found is None:
                raise self._wrong("a text does not end", self._line)
            self._at = found.end()
            yield _ESCAPES.get(found["escaped"], found["escaped"]) if found["escaped"] else found[0]
        self._at += 1

    def _closing(self, at: int) -> int:
        depth, quoted = 1, False
        for place in range(at, len(self._source)):
            sign = self._source[place]
            quoted ^= sign == "'"
            depth += 0 if quoted else {"{": 1, "}": -1}.get(sign, 0)
            if not depth:
                return place
        raise self._wrong("${ does not end", self._line)

    def _wrong(self, what: str, line: int | None = None) -> BicepError:
        return BicepError(f"{self._where}:{line or self._peek.line}: {what}")

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, kind: str = "", text: str = "") -> _Token:
        token = self._peek
        if (kind and token.kind != kind) or (text and token.text != text):
            raise self._wrong(f"{text or kind} is wanted, not {token}")
        self._next += 1
        return token

    def _sign(self, *texts: str) -> str:
        """The sign that is taken, if it is one of these."""
        if self._peek.kind == "sign" and self._peek.text in texts:
            return self._take().text
        return ""

    def _word(self, text: str) -> bool:
        if self._peek.kind == "name" and self._peek.text == text:
            self._next += 1
            return True
        return False

    def _lines(self) -> None:
        while self._peek.kind == "end":
            self._next += 1

    # Statements

    def template(self, path: Path) -> Template:
        """All statements."""
        made = Template(path=path)
        seen: set[str] = set()
        while True:
            self._lines()
            if self._peek.kind == "eof":
                return made
            decorators: dict[str, tuple[Node, ...]] = {}
            while self._sign("@"):
                call = self._primary()
                if not isinstance(call, Call):
                    raise self._wrong("a decorator is a call")
                decorators[call.name] = call.arguments
                self._lines()
            self._statement(made, seen, decorators)
            if self._peek.kind not in ("end", "eof"):
                raise self._wrong(f"{self._peek} is too much")

    def _statement(self, made: Template, seen: set[str], decorators: Mapping[str, tuple[Node, ...]]) -> None:
        line, kind = self._peek.line, self._take("name").text
        if kind == "targetScope":
            self._take("sign", "=")
            made.scope = self._plain()
            return
        makers: dict[str, Callable[[Template, dict[str, Any]], None]] = {
            "param": self._param,
            "var": self._variable,
            "output": self._output,
            "resource": self._resource,
            "module": self._module,
        }
        if kind not in makers:
            raise self._wrong(f"{kind} is not read here", line)
        symbol = self._take("name").text
        if kind != "output":
            if symbol in seen:
                raise self._wrong(f"{symbol} is declared twice", line)
            seen.add(symbol)
        makers[kind](made, {"symbol": symbol, "line": line, "decorators": decorators})

    def _param(self, made: Template, given: dict[str, Any]) -> None:
        kind = self._take("name").text
        default = self.expression() if self._sign("=") else None
        made.params[given["symbol"]] = Param(**given, type=kind, default=default)

    def _variable(self, made: Template, given: dict[str, Any]) -> None:
        self._take("sign", "=")
        made.variables[given["symbol"]] = Value(**given, value=self.expression())

    def _output(self, made: Template, given: dict[str, Any]) -> None:
        self._take("name")
        self._take("sign", "=")
        made.outputs[given["symbol"]] = Value(**given, value=self.expression())

    def _resource(self, made: Template, given: dict[str, Any]) -> None:
        kind, _, version = self._plain().partition("@")
        existing = self._word("existing")
        condition, body = self._body()
        made.resources[given["symbol"]] = Resource(
            **given, type=kind, version=version, existing=existing, condition=condition, body=body
        )

    def _module(self, made: Template, given: dict[str, Any]) -> None:
        path = self._plain()
        condition, body = self._body()
        made.modules[given["symbol"]] = Module(**given, path=path, condition=condition, body=body)

    def _body(self) -> tuple[Node, Node]:
        self._take("sign", "=")
        condition: Node = _TRUE
        if self._word("if"):
            self._take("sign", "(")
            condition = self.expression()
            self._take("sign", ")")
        return condition, self.expression()

    def _plain(self) -> str:
        token = self._take("text")
        if any(not isinstance(piece, str) for piece in token.pieces):
            raise self._wrong("a text without ${} is wanted", token.line)
        return "".join(map(str, token.pieces))

    # Expressions

    def alone(self) -> Node:
        """The one expression that there is."""
        found = self.expression()
        self._take("eof")
        return found

    def expression(self) -> Node:
        """What binds least comes first: a choice."""
        test = self._binary(0)
        if not self._sign("?"):
            return test
        then = self.expression()
        self._take("sign", ":")
        return Choice(test, then, self.expression())

    def _binary(self, level: int) -> Node:
        if level == len(_SIGNS):
            return Not(self._binary(level)) if self._sign("!") else self._primary()
        left = self._binary(level + 1)
        while sign := self._sign(*_SIGNS[level]):
            left = Binary(left, sign, self._binary(level + 1))
        return left

    def _primary(self) -> Node:
        found = self._first()
        while True:
            if self._sign("."):
                found = Member(found, self._take("name").text)
            elif self._sign("["):
                found = Index(found, self.expression())
                self._take("sign", "]")
            elif self._peek.text == "!" and self._tokens[self._next + 1].text == ".":
                self._take()  # it says that there is a value; whether there is one shows here by itself
            else:
                return found

    def _first(self) -> Node:
        token = self._take()
        match token.kind, token.text:
            case "text", _:
                return self._quoted(token)
            case "number", text:
                return Literal(int(text))
            case "name", ("true" | "false" | "null") as word:
                return Literal(_WORDS[word])
            case "name", name:
                return Call(name, self._arguments()) if self._sign("(") else Name(name)
            case "sign", "(":
                found = self.expression()
                self._take("sign", ")")
                return found
            case "sign", "[":
                return self._items()
            case "sign", "{":
                return self._fields()
        raise self._wrong(f"an expression can't begin with {token}", token.line)

    def _quoted(self, token: _Token) -> Node:
        if all(isinstance(piece, str) for piece in token.pieces):
            return Literal("".join(map(str, token.pieces)))
        return Text(token.pieces)

    def _arguments(self) -> tuple[Node, ...]:
        found: list[Node] = []
        self._lines()
        while not self._sign(")"):
            found.append(self.expression())
            self._lines()
            if not self._sign(","):
                self._take("sign", ")")
                break
            self._lines()
        return tuple(found)

    def _items(self) -> Node:
        if self._word("for"):
            each = self._take("name").text
            if not self._word("in"):
                raise self._wrong("in is wanted")
            over = self.expression()
            self._take("sign", ":")
            body = self.expression()
            self._take("sign", "]")
            return For(each, over, body)
        return Items(tuple(self._until("]", self.expression)))

    def _fields(self) -> Node:
        def pair() -> tuple[Node, Node]:
            token = self._take()
            if token.kind not in ("name", "text"):
                raise self._wrong(f"{token} is no key", token.line)
            key = self._quoted(token) if token.kind == "text" else Literal(token.text)
            self._take("sign", ":")
            return key, self.expression()

        return Fields(tuple(self._until("}", pair)))

    def _until[T](self, end: str, one: Callable[[], T]) -> Iterator[T]:
        """What stands in brackets, with commas or ends of lines between."""
        while True:
            self._lines()
            if self._sign(end):
                return
            yield one()
            if not (self._sign(",") or self._peek.kind == "end"):
                self._take("sign", end)
                return


@cache
def read(path: Path) -> Template:
    """The file, read once a process."""
    return parsed(path.read_text(), path)


def parsed(source: str, path: Path) -> Template:
    """The text, as the file of that path."""
    return _Reader(source, path.name).template(path)
