"""Rows with secrets and persons' data planted in them, and rows that only look so; all of it made from a seed.

No value stands here: each is put together when it is made, and is nobody's. What the product knows of their forms is
not used.
"""

# ruff: noqa: E501
from __future__ import annotations

import base64
import json
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

HEX, DIGITS, UPPER = "0123456789abcdef", string.digits, string.ascii_uppercase
NUM, LOWER = string.ascii_letters + DIGITS, string.ascii_lowercase + DIGITS
URL, B64 = NUM + "_-", NUM + "+/"
B32 = UPPER + "234567"


@dataclass(frozen=True)
class Planted:
    """A value: what it is, whether it is a secret or a person's, and how it is written."""

    what: str
    secret: bool
    value: str


def letters(chance: Random, alphabet: str, count: int) -> str:
    """So many random letters."""
    return "".join(chance.choices(alphabet, k=count))


FORMED: dict[str, tuple[tuple[str, int] | str, ...]] = {
    "aws id": ("AKIA", (B32, 16)),
    "aws session id": ("ASIA", (B32, 16)),
    "google api": ("AIza", (URL, 35)),
    "google oauth": ("GOCSPX-", (URL, 28)),
    "google token": ("ya29.", (URL, 120)),
    "azure client secret": ((NUM, 3), "8Q~", (NUM + "_~.-", 34)),
    "azure storage": ((B64, 86), "=="),
    "azure storage string": ("DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=", (B64, 86), "=="),
    "azure bus": ("Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=", (B64, 43), "="),
    "azure sas": (
        "https://acct.blob.core.windows.net/c/b.csv?sv=2023-11-03&se=2027-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=",
        (NUM, 43),
        "%3D",
    ),
    "azure ai": ((NUM, 52), "JQQJ99", (NUM, 26)),
    "github": ("ghp_", (NUM, 36)),
    "github oauth": ("gho_", (NUM, 36)),
    "github app": ("ghs_", (NUM, 36)),
    "github fine": ("github_pat_", (NUM, 22), "_", (NUM, 59)),
    "gitlab": ("glpat-", (URL, 20)),
    "slack bot": ("xoxb-", (DIGITS, 12), "-", (DIGITS, 12), "-", (NUM, 24)),
    "slack user": ("xoxp-", (DIGITS, 12), "-", (DIGITS, 12), "-", (DIGITS, 12), "-", (HEX, 32)),
    "slack app": ("xapp-1-A", (UPPER + DIGITS, 10), "-", (DIGITS, 13), "-", (HEX, 64)),
    "slack hook": (
        "https://hooks.slack.com/services/T",
        (UPPER + DIGITS, 10),
        "/B",
        (UPPER + DIGITS, 10),
        "/",
        (NUM, 24),
    ),
    "stripe": ("sk_live_", (NUM, 24)),
    "stripe long": ("sk_live_51", (NUM, 97)),
    "stripe restricted": ("rk_live_", (NUM, 24)),
    "stripe test": ("sk_test_", (NUM, 24)),
    "stripe hook": ("whsec_", (NUM, 32)),
    "openai": ("sk-", (NUM, 20), "T3BlbkFJ", (NUM, 20)),
    "openai project": ("sk-proj-", (URL, 74), "T3BlbkFJ", (URL, 74)),
    "openai plain": ("sk-", (NUM, 48)),
    "anthropic": ("sk-ant-api03-", (URL, 93), "AA"),
    "openrouter": ("sk-or-v1-", (HEX, 64)),
    "groq": ("gsk_", (NUM, 52)),
    "hugging face": ("hf_", (string.ascii_letters, 34)),
    "replicate": ("r8_", (NUM, 37)),
    "npm": ("npm_", (NUM, 36)),
    "pypi": ("pypi-AgEIcHlwaS5vcmc", (URL, 150)),
    "docker": ("dckr_pat_", (URL, 27)),
    "sendgrid": ("SG.", (URL, 22), ".", (URL, 43)),
    "mailgun": ("key-", (HEX, 32)),
    "mailchimp": ((HEX, 32), "-us", (DIGITS, 1), "2"),
    "twilio": ("SK", (HEX, 32)),
    "telegram": ((string.digits[1:], 10), ":AA", (URL, 33)),
    "discord": ("MT", (NUM, 24), ".", (URL, 6), ".", (URL, 38)),
    "shopify": ("shpat_", (HEX, 32)),
    "square": ("sq0csp-", (URL, 43)),
    "digitalocean": ("dop_v1_", (HEX, 64)),
    "databricks": ("dapi", (HEX, 32)),
    "vault": ("hvs.", (URL, 90)),
    "terraform": ((NUM, 14), ".atlasv1.", (URL, 67)),
    "pulumi": ("pul-", (HEX, 40)),
    "grafana": ("glsa_", (NUM, 32), "_", (HEX, 8)),
    "new relic": ("NRAK-", (UPPER + DIGITS, 27)),
    "sentry": ("sntryu_", (HEX, 64)),
    "notion": ("ntn_", (NUM, 46)),
    "airtable": ("pat", (NUM, 14), ".", (HEX, 64)),
    "linear": ("lin_api_", (NUM, 40)),
    "postman": ("PMAK-", (HEX, 24), "-", (HEX, 34)),
    "alibaba": ("LTAI", (NUM, 20)),
    "age": ("AGE-SECRET-KEY-1", (UPPER + DIGITS, 58)),
    "tailscale": ("tskey-auth-", (NUM, 12), "CNTRL-", (NUM, 32)),
    "atlassian": ("ATATT3xFfGF0", (URL, 180)),
}
"""Keys with a form: pieces, and letters of an alphabet in their number."""


def _jwt(chance: Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": str(chance.randrange(10**9)), "iat": chance.randrange(10**9)})
    return ".".join(
        [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts]
        + [letters(chance, URL, 43)]
    )


def _pem(chance: Random) -> str:
    kind = chance.choice(["RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""])
    lines = [letters(chance, B64, 64) for _ in range(chance.randint(3, 26))]
    return "\n".join(
        [
            f"-----BEGIN {kind}PRIVATE KEY-----",
            *lines,
            letters(chance, B64, 30) + "==",
            f"-----END {kind}PRIVATE KEY-----",
        ]
    )


def _url(chance: Random) -> str:
    scheme = chance.choice(["postgres", "postgresql", "mysql", "mongodb+srv", "redis", "amqp", "https"])
    return f"{scheme}://{chance.choice(['app', 'admin', 'root'])}:{letters(chance, NUM, 14)}7a@db{chance.randrange(9)}.internal.net/main"


NAMES = (
    "api_key",
    "API_KEY",
    "apiKey",
    "secret_key",
    "client_secret",
    "access_token",
    "auth_token",
    "SECRET",
    "token",
    "x-api-key",
    "private_key",
    "AWS_SECRET_ACCESS_KEY",
)
PASSWORDS = ("password", "PASSWORD", "db_password", "passwd", "pwd", "Password", "passphrase")


def _random(chance: Random) -> str:
    while True:
        alphabet, count = chance.choice(
            [(HEX, 32), (HEX, 40), (HEX, 64), (NUM, 24), (NUM, 32), (NUM, 40), (B64, 40), (URL, 43), (LOWER, 32)]
        )
        value = letters(chance, alphabet, count).strip("-/+_")
        if len(value) >= 24 and value[-1] not in "-_":
            return value


def _password(chance: Random) -> str:
    value = [chance.choice(each) for each in (string.ascii_lowercase, UPPER, DIGITS, "!@#$%^&*?")]
    value += chance.choices(NUM, k=chance.randint(5, 14))
    chance.shuffle(value)
    text = "".join(value)
    return text if text[-1] in NUM and text[0] in NUM else "k" + text + "7"


def _named(chance: Random, names: tuple[str, ...], value: str) -> str:
    name = chance.choice(names)
    return chance.choice(
        [
            f'{name} = "{value}"',
            f"{name}={value}",
            f"{name}: {value}",
            f'"{name}": "{value}"',
            f"export {name}='{value}'",
            f"{name} = '{value}'",
            f"My {name.replace('_', ' ')} is {value}",
            f'{{"user": "bob", "{name}": "{value}"}}',
        ]
    )


def _luhn(digits: str) -> str:
    total = sum(int(each) if at % 2 else sum(divmod(2 * int(each), 10)) for at, each in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def _card(chance: Random) -> str:
    begin, size = chance.choice(
        [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("37", 15), ("6011", 16), ("3530", 16), ("36", 14)]
    )
    digits = _luhn(begin + letters(chance, DIGITS, size - len(begin) - 1))
    if size == 14:
        return "card number " + digits
    cut = (4, 10, 15) if size == 15 else (4, 8, 12, 16)
    groups = [digits[a:b] for a, b in zip((0, *cut), cut, strict=False)]
    return chance.choice([" ", "-", ""]).join(groups)


_BANKS = {
    "DE": "n18",
    "GB": "a4n14",
    "FR": "n10c11n2",
    "NL": "a4n10",
    "ES": "n20",
    "IT": "a1n10c12",
    "CH": "n5c12",
    "AT": "n16",
    "BE": "n12",
    "PL": "n24",
    "SE": "n20",
    "NO": "n11",
    "IE": "a4n14",
    "PT": "n21",
    "MT": "a4n5c18",
}


def _iban(chance: Random) -> str:
    country, form = chance.choice(list(_BANKS.items()))
    rest, at = "", 0
    while at < len(form):
        end = at + 1
        while end < len(form) and form[end].isdigit():
            end += 1
        rest += letters(chance, {"n": DIGITS, "a": UPPER, "c": UPPER + DIGITS}[form[at]], int(form[at + 1 : end]))
        at = end
    check = 98 - int("".join(str(int(each, 36)) for each in f"{rest}{country}00")) % 97
    whole = f"{country}{check:02}{rest}"
    return whole if chance.random() < 0.5 else " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


_FIRST, _LAST = (
    ("anna", "bob", "carla", "dmitri", "eve", "faruk", "grace", "hiro"),
    ("smith", "novak", "okafor", "rossi", "tanaka", "weber"),
)


def _email(chance: Random) -> str:
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    local = chance.choice(
        [
            f"{first}.{last}",
            f"{first}{chance.randrange(99)}",
            f"{first[0]}{last}",
            f"{first}_{last}+news",
            f"{first.title()}.{last.title()}",
        ]
    )
    return f"{local}@{chance.choice(['gmail.com', 'contoso.com', 'mail.firma.de', 'uni-wien.ac.at', 'company.co.uk', 'startup.io', 'corp.xyz'])}"


def _phone(chance: Random) -> str:
    def n(count: int) -> str:
        return letters(chance, DIGITS, count - 1) + chance.choice("1234567")

    area, exchange = (
        chance.choice("23456789") + chance.choice("0123456") + chance.choice("123456789"),
        chance.choice("23456789") + n(2),
    )
    return chance.choice(
        [
            f"+1 {area} {exchange} {n(4)}",
            f"+1-{area}-{exchange}-{n(4)}",
            f"+1 ({area}) {exchange}-{n(4)}",
            f"({area}) {exchange}-{n(4)}",
            f"{area}-{exchange}-{n(4)}",
            f"{area}.{exchange}.{n(4)}",
            f"+44 20 7{n(3)} {n(4)}",
            f"+49 170 {chance.choice('123456789')}{n(6)}",
            f"+49 (0)30 {chance.choice('123456789')}{n(7)}",
            f"+33 6 {n(2)} {n(2)} {n(2)} {n(2)}",
            f"+919{n(9)}",
            f"07{n(3)} {n(6)}",
            f"0{chance.choice('1234')} {n(2)} {n(2)} {n(2)} {n(2)}",
            f"0{chance.choice('157')}{n(2)}/{n(7)}" if chance.random() < 0 else f"0171/{n(7)}",
            f"090-{n(4)}-{n(4)}",
        ]
    )


def _formed(name: str) -> Callable[[Random], str]:
    pieces = FORMED[name]
    return lambda chance: "".join(each if isinstance(each, str) else letters(chance, *each) for each in pieces)


SECRETS: dict[str, Callable[[Random], str]] = {
    **{name: _formed(name) for name in FORMED},
    "jwt": _jwt,
    "private key": _pem,
    "address with password": _url,
    "named": lambda chance: _named(chance, NAMES, _random(chance)),
    "password": lambda chance: _named(chance, PASSWORDS, _password(chance)),
}
PERSONS: dict[str, Callable[[Random], str]] = {"card": _card, "iban": _iban, "email": _email, "phone": _phone}


def planted(chance: Random, at: int) -> Planted:
    """A value; the kinds take turns, and two in three are secrets."""
    secret = at % 3 != 0
    table = SECRETS if secret else PERSONS
    names = list(table)
    what = names[(at // 3 + at) % len(names)] if secret else names[at // 3 % len(names)]
    value = table[what](chance)
    while value[-1] in "-_" and what != "private key":
        value = table[what](chance)
    return Planted(what, secret, value)


_TALK = (
    "Please have a look at this and tell me what it does.", "Why does the build fail since yesterday?", "Can you rewrite it in a friendlier tone?",
    "Here is what I got so far.", "That is how it stands in our handbook.", "It worked before the update, I am sure.", "Thanks, that helps a lot!",
    "Der Zug fährt um 12:30 Uhr ab Gleis 7.", "価格は1,200円です。", "El pedido llegó ayer por la tarde.",
)  # fmt: skip
AROUND: tuple[Callable[[str], str], ...] = (
    lambda v: v,
    lambda v: f"{v}\n",
    lambda v: f"\n{v}",
    lambda v: f"\t{v}\t",
    lambda v: f"Here it is: {v}",
    lambda v: f"Use {v}, please.",
    lambda v: f"({v})",
    lambda v: f"`{v}`",
    lambda v: f'"{v}"',
    lambda v: f"'{v}'",
    lambda v: f"<{v}>",
    lambda v: f"Is {v} still right?",
    lambda v: f"first line\n{v}\nlast line",
    lambda v: json.dumps({"note": v, "n": 1}),
    lambda v: json.dumps({"a": [{"note": v}]}, indent=2),
    lambda v: f"```python\nclient = connect('{v}')\n```",
    lambda v: f"config:\n  value: {v}\n  size: 3",
    lambda v: f"| name | value |\n|---|---|\n| x | {v} |",
    lambda v: f"- {v}\n- other",
    lambda v: f"größe „{v}“ ✓",
    lambda v: f"value is {v}; next",
    lambda v: f"**{v}**",
)


def bad_row(chance: Random, at: int) -> tuple[bytes, Planted]:
    """A row with a value in one of its messages, among ordinary words."""
    value = planted(chance, at)
    text = AROUND[chance.randrange(len(AROUND))](value.value)
    before, behind = (" ".join(chance.choices(_TALK, k=chance.randint(0, 3))) for _ in range(2))
    text = f"{before}{' ' if before else ''}{text}{' ' if behind else ''}{behind}"
    other = " ".join(chance.choices(_TALK, k=2))
    return row(*((text, other) if chance.random() < 0.5 else (other, text))), value


def _clean(chance: Random) -> Iterator[str]:
    def n(count: int) -> str:
        return letters(chance, DIGITS, count)

    def h(count: int) -> str:
        return letters(chance, HEX, count)

    name = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    yield f"request id {name}"
    yield f"The run {name.upper()} has ended, see {name}/logs."
    yield f"Fixed in commit {h(40)}, was {h(7)} before."
    yield f"sha256:{h(64)}"
    yield f"md5 {h(32)}  file-{n(4)}.tar.gz"
    yield f"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{letters(chance, B64, 200)}=="
    yield f"Order number {n(16)} of 2024-0{chance.randint(1, 9)}-1{n(1)}"
    yield f"Your order #{n(4)}-{n(4)}-{n(4)} has shipped, tracking 1Z{letters(chance, UPPER + DIGITS, 16)}."
    yield f"Invoice no. {n(10)}, customer {n(8)}, total 1{n(2)},{n(3)}.{n(2)} EUR"
    yield f"version 3.{n(2)}.{n(1)}, build {n(4)}.{n(2)}.{n(3)}, python3.{n(2)}"
    yield f"Ping 192.168.{chance.randrange(256)}.{chance.randrange(256)} and 10.0.{chance.randrange(256)}.1:{n(4)}"
    yield f"fe80::{h(4)}:{h(4)}:{h(4)}:{h(4)} and MAC {h(2)}:{h(2)}:{h(2)}:{h(2)}:{h(2)}:{h(2)}"
    yield f"ISBN 978-3-16-{n(6)}-{n(1)}, ISBN 0-{n(3)}-{n(5)}-X, EAN 400{n(10)}"
    yield f"2024-0{chance.randint(1, 9)}-15T10:{chance.randint(10, 59)}:00.{n(6)}Z, epoch 17{n(8)}, 17{n(11)}, 17{n(17)}"
    yield f"$1,{n(3)}.{n(2)} or €{n(1)}.{n(3)},{n(2)}, about {n(2)} % of 1{n(1)} {n(3)} {n(3)}"
    yield f"https://shop.site.com/items/{n(12)}?ref={h(16)}&page={n(2)}"
    yield f"https://www.youtube.com/watch?v={letters(chance, URL, 11)} and https://docs.google.com/document/d/{letters(chance, URL, 44)}/edit"
    yield f"3.14159265358979{n(12)} and 6.022e23, pi to {n(2)} digits"
    yield f"Write to someone@example.com, admin@localhost or git@github.com:owner/repo{n(2)}.git"
    yield f"npm install react@18.{n(1)}.0 lodash@4.17.{n(2)}, icon@2x.png"
    yield "def get_token(request):\n    token = request.headers['Authorization']\n    return token.split(' ')[1]"
    yield 'api_key = os.environ["OPENAI_API_KEY"]\nclient = OpenAI(api_key=api_key)'
    yield "password: ********, token: <your-token-here>, api_key=YOUR_API_KEY_HERE, secret = 'changeme123'"
    yield f"max_tokens: {n(4)}, tokenizer: bert-base-uncased, temperature=0.7, top_p=0.95"
    yield "The key to success is practice. The secret is patience; a password should have 12 characters or more."
    yield "Passwords must contain at least 8 characters, a digit (0-9) and a special character (!@#$)."
    yield f"primary_key: id_{n(6)}, foreign key user_id -> users.id, cache key user:{n(6)}:profile"
    yield f"key: value_{n(2)}, keyboard: qwerty, monkey2: banana"
    yield f"arn:aws:s3:::bucket-{n(4)}, i-0{h(16)}, vpc-{h(8)}, subnet-{h(17)}"
    yield f"/subscriptions/{name}/resourceGroups/rg-{n(3)}/providers/Microsoft.Storage"
    yield f"0x{h(40)} sent 1.{n(4)} ETH, block {n(8)}, tx 0x{h(64)}"
    yield f"[{', '.join(str(chance.randrange(1000)) for _ in range(12))}]"
    yield f"| 1 | {n(4)} | {n(4)} | {n(4)} | {n(4)} |"
    yield f"1990 1995 2000 2005 2010 {n(4)} {n(4)}"
    yield f"Scores: {n(3)}-{n(3)}, {n(2)}:{n(2)}; rooms 101-205; pages 12-34; 2019-2024"
    yield f"Lat 51.{n(6)}, lon -0.{n(6)}"
    yield f"population 1{n(9)}, IMEI 35{n(13)}, serial {letters(chance, UPPER + DIGITS, 12)}"
    yield f"Flight LH{n(3)}, seat 12{chance.choice('ABCDEF')}, booking {letters(chance, UPPER + DIGITS, 6)}"
    yield f"chr{n(1)}:{n(8)}-{n(8)}, NM_{n(9)}.3, rs{n(8)}"
    yield f"CVE-2024-{n(5)}, RFC 7231, ISO 8601:2004, DIN EN 13432, Room B{n(3)}"
    yield f"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ{letters(chance, B64, 300)} me@host"
    yield f'<script integrity="sha384-{letters(chance, B64, 64)}"></script>'
    yield "someVeryLongFunctionNameThatNobodyWouldEverUse(anotherLongArgumentName, YET_ANOTHER_CONSTANT_NAME_2)"
    yield "-----BEGIN PUBLIC KEY-----\n" + letters(chance, B64, 64) + "\n-----END PUBLIC KEY-----"
    yield "-----BEGIN CERTIFICATE-----\n" + letters(chance, B64, 64) + "\n-----END CERTIFICATE-----"
    yield f"Tweet {chance.choice('1')}{n(18)}, job {n(7)}, ticket INC{n(7)}, PO-{n(10)}"


CLEAN = sum(1 for _ in _clean(Random(0)))


def clean_row(chance: Random, at: int) -> bytes:
    """A row with nothing in it; every second one has what may pass for something."""
    text = " ".join(chance.choices(_TALK, k=chance.randint(1, 4)))
    if at % 2:
        hard = list(_clean(chance))[at // 2 % CLEAN]
        text = f"{text} {AROUND[chance.randrange(len(AROUND))](hard)}"
    other = " ".join(chance.choices(_TALK, k=2))
    return row(*((text, other) if chance.random() < 0.5 else (other, text)))


def row(question: str, answer: str, ascii_only: bool = False) -> bytes:
    """A row of messages, as a JSON library writes it."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages}, ensure_ascii=ascii_only).encode()
