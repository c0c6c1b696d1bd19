"""Keys, tokens and passwords: the forms that their issuers give them, and what looks random beside a word for a secret.

The forms (beginnings, lengths, letters) are facts that the issuers document. What is looked for is what lets somebody
in; an id that only names an account does not. Used by `search`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from shared.dataset.safety.placeholders import is_placeholder
from shared.dataset.safety.places import Beginnings

_HEX, _NUM, _URL = rb"[a-fA-F0-9]", rb"[A-Za-z0-9]", rb"[A-Za-z0-9_\-]"
_B64 = rb"[A-Za-z0-9+/]"


def _either(forms: Sequence[tuple[str, bytes]]) -> bytes:
    """One pattern for all forms, with a group for each."""
    letter = b"f" if forms is FORMS else b"i"
    groups = [b"(?P<%b%d>%b)" % (letter, at, form) for at, (_, form) in enumerate(forms)]
    return b"(?:" + b"|".join(groups) + b")(?![A-Za-z0-9])"


FORMS: tuple[tuple[str, bytes], ...] = (
    ("AWS key", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|ABSK[A-Za-z0-9+/]{100,}={0,2}|bedrock-api-key-%b{20,}" % _B64),
    ("Google key", rb"AIza%b{35}|GOCSPX-%b{28}|ya29\.[\w\-]{30,}|1//0[\w\-]{40,}|GOOG1E[A-Z0-9]{18,}" % (_URL, _URL)),
    (
        "GitHub token",
        rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}|v1\.[a-f0-9]{40}\b",
    ),
    (
        "GitLab token",
        rb"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt|ffct|rtr)-[A-Za-z0-9_\-]{20,}|GR1348941[A-Za-z0-9_\-]{20,}",
    ),
    (
        "Slack token",
        rb"xox[abeoprscd](?:\.xox[bp])?-[A-Za-z0-9\-]{10,}|xapp-\d-[A-Za-z0-9\-]{20,}|xwfp-[A-Za-z0-9\-]{20,}",
    ),
    ("Stripe key", rb"(?:sk|rk)_(?:live|test|prod)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}"),
    ("Anthropic key", rb"sk-ant-[A-Za-z0-9_\-]{20,}"),
    (
        "OpenAI key",
        rb"sk-(?:proj|svcacct|admin|None|service)-[A-Za-z0-9_\-]{20,}|sk-[A-Za-z0-9]{32,}|sess-[A-Za-z0-9]{40}",
    ),
    (
        "key of an AI service",
        rb"sk-or-(?:v\d-)?[a-f0-9]{40,}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{60,}|pplx-[A-Za-z0-9]{40,}|"
        rb"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}|ls__[a-f0-9]{32}|nvapi-[\w\-]{50,}|r8_[A-Za-z0-9]{37}|"
        rb"sk_[a-f0-9]{48}|pcsk_[\w]{40,}|pa-[\w\-]{43}|tvly-[A-Za-z0-9\-]{20,}|fw_[A-Za-z0-9]{22,}|"
        rb"jina_[\w\-]{40,}|tgp_v1_[\w\-]{40,}|wandb_v1_[\w]{40,}|esecret_[A-Za-z0-9]{20,}|csk-[a-z0-9]{40,}",
    ),
    ("Hugging Face token", rb"(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    (
        "token of a package registry",
        rb"npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_\-]{50,}|rubygems_[a-f0-9]{48}|oy2[a-z0-9]{43}|cio[A-Za-z0-9]{32}|"
        rb"dckr_(?:pat|oat)_[\w\-]{20,}|CLOJARS_[a-z0-9]{60}|AKCp[A-Za-z0-9]{60,}|cmVmdGtuO[A-Za-z0-9]{50,}",
    ),
    (
        "key of a payment service",
        rb"sq0(?:atp|csp|idp)-[\w\-]{22,43}|EAAA[\w\-]{60}|access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}|"
        rb"rzp_(?:live|test)_[A-Za-z0-9]{14,}|shp(?:at|ca|pa|ss|tka)_[a-fA-F0-9]{32}|"
        rb"access-(?:sandbox|development|production)-[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}|"
        rb"FLWSECK(?:_TEST)?-[A-Za-z0-9\-]{12,}|AQE[A-Za-z0-9]{20,}[+/=\-.^][\w+/=\-.^*\\]{20,}|EZ[AT]K[A-Za-z0-9]{54}|"
        rb"shippo_(?:live|test)_[a-f0-9]{40}|(?:live|test)_(?:pub_)?[a-f0-9]{35}|pk_live_[A-Za-z0-9]{24,}",
    ),
    (
        "key of a mail or message service",
        rb"SG\.[\w\-]{16,32}\.[\w\-]{32,64}|(?:key|pubkey)-[a-f0-9]{32}|"
        rb"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}|xsmtpsib-[a-f0-9]{64}-[A-Za-z0-9]{16}|re_[A-Za-z0-9]{8}_[A-Za-z0-9]{16,}|"
        rb"SK[a-f0-9]{32}|"
        rb"[MNO][A-Za-z0-9_\-]{23,27}\.[\w\-]{6}\.[\w\-]{27,40}|mfa\.[\w\-]{80,}",
    ),
    (
        "address of a webhook",
        rb"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,}|"
        rb"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{16,20}/[\w\-]{50,}|"
        rb"webhook\.office\.com/webhookb2/[\w\-@]{36,}/IncomingWebhook/[\w/\-]{30,}|"
        rb"hooks\.zapier\.com/hooks/catch/\d+/\w+",
    ),
    (
        "key of a cloud service",
        rb"do[oprt]_v1_[a-f0-9]{64}|LTAI[A-Za-z0-9]{12,24}|AKID[A-Za-z0-9]{32}|HRKU-[\w\-]{30,}|fo1_[\w\-]{43}|"
        rb"fm[12][ar]?_[A-Za-z0-9+/=]{60,}|v1\.0-[a-f0-9]{24}-[a-f0-9]{140,}|hv[sbr]\.[\w\-]{24,}|"
        rb"dapi[a-f0-9]{32}(?:-\d)?|dkea[a-f0-9]{32}|dose[a-f0-9]{32}|"
        rb"dp\.(?:pt|st|ct|sa|scim|audit)(?:\.[a-z0-9_\-]+)?\.[A-Za-z0-9]{40,44}|pul-[a-f0-9]{40}|"
        rb"pscale_(?:tkn|pw|oauth)_[\w=.\-]{32,64}|sbp_[a-f0-9]{40}|sb_secret_[\w\-]{20,}|nf[pcoub]_[A-Za-z0-9]{36,}|"
        rb"rnd_[A-Za-z0-9]{28,}|sha256~[\w\-]{43}|tskey-[a-z]+-[\w\-]{20,}|CCDB1_\w{22}_\w{40}|"
        rb"AQVN[\w\-]{35,38}|y[0-3]_[\w\-]{40,}|t1\.[A-Z0-9a-z_\-]+={0,2}\.[A-Z0-9a-z_\-]{86}={0,2}|"
        rb"vc[kpiar]_[A-Za-z0-9]{24,}|cfut_[\w]{40,}|neon_[a-z]+_[\w]{30,}|ops_eyJ[\w+/=\-]{100,}|"
        rb"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{5,11}-){3,5}[A-Z0-9]{5}",
    ),
    (
        "token of a developers' service",
        rb"AT[AC]TT3[\w\-=]{60,}|ATBB[A-Za-z0-9]{24,}|CCI(?:PAT|PRJ)_[\w]{22}_[a-f0-9]{40}|sq[uap]_[a-f0-9]{40}|"
        rb"sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}|sntr(?:ys|yu)_[\w+/=\-]{40,}|NR(?:AK|JS|II|RA)-[\w\-]{18,}|"
        rb"gl(?:sa|c)_[A-Za-z0-9+/=_]{32,}|dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}|hca[a-z]{2}_[\w]{50,}|"
        rb"ph[xsp]_[A-Za-z0-9]{32,}|(?:sdk|api|mob)-[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}|"
        rb"secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,}|pat[A-Za-z0-9]{14}\.[a-f0-9]{64}|lin_(?:api|oauth)_[A-Za-z0-9]{40,}|"
        rb"fig[dur]h?_[\w\-]{36,}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|tfp_[\w\-.]{40,}|CFPAT-[\w\-]{40,}|sl\.[\w\-]{60,}|"
        rb"pat-(?:na|eu|ap)\d-[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}|EAA[A-Za-z0-9]{80,}|"
        rb"(?<![+/])A{15,}[\w%]{30,}|[sp]k\.eyJ[\w\-]{40,}\.[\w\-]{20,}|AGE-SECRET-KEY-1[0-9A-Z]{58}|duffel_(?:live|test)_[\w\-]{43}|"
        rb"fio-u-[\w\-]{64}|pn[ub]_[A-Za-z0-9]{36}|rdme_[a-z0-9]{70}|tk-us-[\w\-]{48}|ico-[A-Za-z0-9]{32}|"
        rb"p8e-[a-z0-9]{32}|dnkey-[\w=\-]{26}-[\w=\-]{52}|bkua_[a-z0-9]{40}|"
        rb"sk_(?:live|test)_[\w\-]{24,}|eyJrIjoi[A-Za-z0-9]{60,}={0,2}|PRIVATE-[A-Z0-9]{20,}|apify_api_[A-Za-z0-9]{30,}|"
        rb"sntrys_[\w+/=]{40,}|snyk_[\w\-.]{36,}|keyX?[A-Za-z0-9]{14}\.[a-f0-9]{64}|doo_v1_[a-f0-9]{64}",
    ),
    (
        "JSON Web Token",
        rb"eyJ[\w\-]{8,}={0,2}\.eyJ[\w\-]{8,}={0,2}(?:\.[\w\-]*={0,2})?|eyJ[\w\-]{15,}\.(?:[\w\-]*\.){3}[\w\-]{10,}",
    ),
)
"""Kind, and its form: of keys that are known by their beginning, where no letter or digit stands before it."""
INSIDE: tuple[tuple[str, bytes], ...] = (
    (
        "Azure key",
        rb"[A-Za-z0-9_~.\-]{3}\dQ~[A-Za-z0-9_~.\-]{31,34}|%b{52}(?:JQQJ99|AZDO|JHQJ99)[A-Za-z0-9]{8,40}|"
        rb"(?<![+/])(?:%b{76}(?:\+ASt|ACDb)%b{4,8}={0,2}|%b{86}==|%b{32,44}(?:AzFu|AzSe|AzCa|\+ABa|\+AEh|\+ASb|\+AIo|"
        rb"\+ACR|\+AMC|APIM)%b{4,12}={0,2})|(?<=code=)[A-Za-z0-9_\-/+]{40,80}(?:==|\Z)" % (_NUM, *(_B64,) * 5),
    ),
    (
        "key of a mail or message service",
        rb"[a-f0-9]{32}-us\d{1,2}|[a-f0-9]{32}-[a-f0-9]{8}-[a-f0-9]{8}|\d{8,10}:AA[\w\-]{33}",
    ),
    ("key of a cloud service", rb"[A-Za-z0-9]{14}\.atlasv1\.[\w\-=]{60,70}|[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    ("key or token", rb"[a-z][a-z0-9]{1,11}_(?:live|prod|secret|sk|pat|token|key|api)_(?=\w*\d)[A-Za-z0-9]{24,}"),
)
"""The same of those that are known by what is in them."""
BEGINNINGS = Beginnings(
    b"""
AKI ASI ABI ACC ABS bed AIz GOC ya2 1// GOO ghp gho ghu ghs ghr git v1. glp gld glr glc glf gls gla glo gli glt GR1
xox xap xwf sk_ rk_ whs sk- ses gsk xai ppl lsv ls_ nva r8_ pcs pa- tvl fw_ jin tgp wan ese csk hf_ api npm pyp rub oy2
cio dck CLO AKC cmV sq0 EAA acc rzp shp FLW AQE EZA EZT shi liv tes pk_ SG. key pub xke xsm re_ SK MT Mj Mz ND NT Nj Nz
OD OT mfa hoo dis web do LTA AKI HRK fo1 fm1 fm2 hvs hvb hvr dap dke dos dp. pul psc sbp sb_ nfp nfc nfo nfu nfb rnd sha
tsk CCD AQV y0_ y1_ y2_ y3_ t1. vck vcp vci vca vcr cfu neo ops A3- ATA ATC ATB CCI sqp squ sqa sgp snt NRA NRJ NRI NRR
dt0 hca phx phs php sdk mob sec ntn pat lin fig PMA tfp CFP sl. AAA sk. pk. AGE duf fio pnu pnb rdm tk- ico p8e dnk bku
eyJ PRI api sny
""".split()
)
"""How the keys of FORMS begin."""
_FORMS = re.compile(_either(FORMS))
_INSIDE = re.compile(rb"(?<![A-Za-z0-9])" + _either(INSIDE))
_HINT = re.compile(
    rb"code=|Q~|JQQJ99|JHQJ99|AZDO|\+A[A-Z]|ACDb|Az[FSC]|APIM|==|-us\d|:AA|\.atlasv1\.|_mmk|[a-f0-9]{32}-|"
    rb"_(?:live|prod|secret|sk|pat|token|key|api)_"
)
_KINDS = {f"f{at}": kind for at, (kind, _) in enumerate(FORMS)} | {
    f"i{at}": kind for at, (kind, _) in enumerate(INSIDE)
}

_END = rb"-----END[ A-Z0-9]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_PRIVATE = re.compile(
    rb"-----BEGIN[ A-Z0-9]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:(?:[^\"\x1e]|\x1e\"){40,12000}?%b|(?:[\sA-Za-z0-9+/=:,.\-]|\x1e\"|[+'\\])*[A-Za-z0-9+/=]{30,}={0,2})"
    rb"|PuTTY-User-Key-File-\d(?:[^\"\x1e]|\x1e\"){40,12000}?Private-MAC: ?[a-f0-9]{16,}" % _END
)
_SOLID = re.compile(rb"[A-Za-z0-9+/=]{30}")
_CREDENTIALS = re.compile(
    rb"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,20}://[^\s\"'`<>/?#@:\x1e]{0,100}:([^\s\"'`<>/\x1e]{3,200})@(?=[A-Za-z0-9\[])"
)

# What is named a secret -----------------------------------------------------------------------------------------------


def _words(text: str) -> bytes:
    return b"|".join(map(re.escape, text.encode().split()))


_WORD = (
    rb"(?P<pass>pass(?:word|wd|phrase|code|w)s?|(?P<bare>(?<![A-Za-z])pass(?=\s{0,2}[:=]))|pwd|pw|secrets?|credentials?|"
    rb"kennwort|passwort|contrase\xc3\xb1a|(?:mot|mots) de passe|senha|wachtwoord|%b)|tokens?|(?P<key>keys?)|"
    rb"(?<=_)pat\b|auth(?:orization)?|bearer|sig(?:nature)?|cookie"
    % _words("пароль Пароль ПАРОЛЬ 密码 密碼 口令 パスワード 비밀번호")
)
_STRONG = re.compile(
    rb"(?i:api|access|auth|account|private|encryption|signing|subscription|shared|storage|service|secret|client|app|"
    rb"application|master|admin|consumer|license|licence|host|function|root|webhook|deploy|server|session|bot|azure|"
    rb"aws|openai|s3|gcp|google|github|twilio|stripe|bearer|decryption|hmac|jwt)[_ \-.]?$"
)
_QUOTE = rb"(?:\x1e*[\"'`])"
_IS = (
    rb"is|was|are|now|still|set|reset|changed|to|be|been|has|as|will|that|i|use|used|for|me|it|here|ist|lautet|est|es|"
    rb"\xc3\xa9|\xc3\xa8"
)
_A_QUOTE = re.compile(_QUOTE)
_NAMED = re.compile(
    rb"(?i:(?P<word>%b)(?P<suffix>[_\-.\[][\w\-.\[\]]{0,24}|(?:id|value|string|hash)\b|\d{1,2}(?!\w))?"
    rb"(?:%b?[\])]?\*{0,2}\s{0,4}(?:value)?\s{0,2}(?::|=>|==|->|=|:|\(|>|,(?=\s?\x1e?[\"'])|\xef\xbc\x9a|\xe6\x98\xaf|\xe4\xb8\xba|"
    rb"\xe3\x81\xaf)(?:\*\*(?=\s))?\s{0,4}"
    rb"(?:\{\s{0,9}%b(?:value|default|data|text)%b\s{0,2}:\s{0,2}|(?P<list>[\[({]\s{0,9}))?"
    rb"|(?:\s{1,3}(?:%b)){1,5}\s?:?\s{1,3}"
    rb"|(?:(?<=-password)|(?<=-passwd)|(?<=-pass)|(?<=-pw)|(?<=-token)|(?<=-secret)|(?<=-key))\s{1,3}"
    rb"|\s(?=[A-Za-z0-9+/_\-.=]{20}))"
    rb"(?P<first>%b)?\x1e?(?:(?:bearer|basic|token|apikey|key)\s{1,2})?(?P<second>%b)?"
    rb")(?=(?P<value>[^\s\"'`\x1e]{1,512}))" % (_WORD, _QUOTE, _QUOTE, _QUOTE, _IS, _QUOTE, _QUOTE)
)
_COMMAND = re.compile(  # what is no name, and says as clearly that a password comes
    rb"(?i:\bidentified\s{1,3}(?:with\s{1,3}\w{1,40}\s{1,3})?by\s{1,3}(?P<first>%b)|sshpass\s{1,3}-p\s{0,2}(?P<second>%b)?|"
    rb"(?:\s-u|--user|--proxy-user)[ =]{0,2}(?P<third>%b)?[^\s:\"'`\x1e]{1,40}:)(?=(?P<value>[^\s\"'`\x1e]{1,512}))"
    % ((_QUOTE,) * 3)
)
_OPEN_END = re.compile(  # of a value without quotes: a space, a quote, a tag, the name of the next value
    rb"(?:(?!</|<br|[;&,]\s?[A-Za-z][A-Za-z_ ]{1,30}=)[^\s\"'`\x1e]|['`](?=[A-Za-z0-9]))+"
)
_JUDGED = 96
_CUT = re.compile(rb"[^<>;,(){}\[\]]{8,}")
_ANOTHER = re.compile(rb"\s{0,9}(?:,|;|\band\b)\s{0,9}(?P<first>\x1e*[\"'`])?(?=(?P<value>[^\s\"'`\x1e]{1,512}))")
_CALLED = re.compile(rb"[$@]?[A-Za-z_][\w.:\->]*")
_HARMLESS = re.compile(
    rb"(?i:example|your|x{4}|\*{3}|\.{3}|change_?me|placeholder|dummy|sample|redacted|hidden|insert|replace|todo|"
    rb"process\.env|environ|getenv|os\.|config\.|settings\.|secrets\.|vault\.|localhost|undefined|null|\$\(|\$\{|%\(|"
    rb"ctrl\+|shift\+|oauth\d|openid\d|&lt|&amp|\|\||&&|[!=]=(?!$)|->|=>|://|1234567890|abcdef(?:gh|01)|deadbeef|0123456)"
)
_PUBLIC = re.compile(
    rb"(?i:(?<![a-z])(?:public|primary|foreign|cache|partition|sort|object|blob|row|hash|registry|etag|checksum|"
    rb"sha\d*|md5|index|unique?|map|dict|dictionary|idempotency|candidate|composite|surrogate|commit|contract)"
    rb"(?:[_\s\-.][\w\s\-.]{0,12})?$)"
)
_FILE = re.compile(
    rb"(?i:\.(?:[a-z]{2,4}|json|yaml|html|jsonl|properties|sqlite|parquet|ipynb)$|^[./~\\](?!.*=$)|^[a-z]:\\)"
)
_TIME = re.compile(rb"^\d{4}-\d\d-\d\d|^v?\d+(?:\.\d+)+")
_UUID = re.compile(rb"^[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}$")
_HEXED = re.compile(rb"^[a-fA-F0-9]{24,}$")
_ADDRESS = re.compile(rb"^0x[a-fA-F0-9]{40}$")
_TURN = re.compile(rb"(?=([a-z][A-Z0-9]|[0-9][a-zA-Z]|[A-Z][0-9]|[A-Z]{2}[a-z]))")
_SPECIAL = re.compile(rb"[!@#$%^&*?~+|]")


type _Found = Iterator[tuple[str, int, int]]


def formed(block: bytes, begins: Sequence[int]) -> _Found:
    """Kind, start and end of each key that begins at one of these places."""
    for at in begins:
        found = _FORMS.match(block, at)
        if found and _varied(found[0]):
            yield _KINDS[found.lastgroup or ""], at, found.end()


def solid(block: bytes, spans: Sequence[tuple[int, int]]) -> _Found:
    """The same of keys that are known by what is in them, in runs without a space."""
    for start, end in spans:
        if not _HINT.search(block, start, end):
            continue
        start += block[start - 1 : start] == b"\\" and block[start : start + 1] in b"nrtbf"
        for found in _INSIDE.finditer(block[start:end]):
            if block[start + found.start() - 5 : start + found.start()] == b"code=" and found[0][-1:] != b"=":
                if block[end : end + 6].upper() == b"%3D%3D":  # of a function; the code of a login has no such end
                    yield "Azure key", start + found.start(), end + 6
            elif _varied(found[0]):
                yield _KINDS[found.lastgroup or ""], start + found.start(), start + found.end()


def inside(text: bytes) -> _Found:
    """The same in a text without escapes, of which some stood within a key."""
    if _HINT.search(text):
        for found in _INSIDE.finditer(text):
            if _varied(found[0]) and found[0][-1:] == b"=":
                yield _KINDS[found.lastgroup or ""], found.start(), found.end()


def private_keys(text: bytes) -> _Found:
    """The same of private keys in a text without escapes."""
    for found in _PRIVATE.finditer(text):
        if _SOLID.search(found[0]):
            yield "private key", found.start(), found.end()


def credentials(text: bytes) -> _Found:
    """The same of passwords in addresses."""
    for found in _CREDENTIALS.finditer(text):
        if _is_password(found[1], of=found[0]):
            yield "password in an address", found.start(1), found.end(1)


def _is_password(value: bytes, of: bytes) -> bool:
    """Whether it is one, and no word, name or variable in the place of one. `of`: the beginning of the address."""
    if len(value) < 5 or value.isdigit() or value.lower() in _WORDS or value[:1] in b"{<$%[" or value[-1:] in b"}>]":
        return False
    return b"/" + value + b":" not in of and not _HARMLESS.search(value) and not is_placeholder(value)


def named(text: bytes) -> _Found:
    """The same of what looks random behind a word for a secret."""
    low = text.lower()
    done = 0
    for start in sorted(at for word in _names(low) for at in _all(low, word)):
        if start < done or text[start - 1 : start + 7].lower() == b"[secret]":
            continue
        found = _NAMED.match(text, start) or (_COMMAND.match(text, start) if low[start] in b"i-\ts " else None)
        if not found:
            continue
        kind = "password" if found.re is _COMMAND or found["pass"] else "key or token"
        more: re.Match[bytes] | None = found
        while more:
            begin, done = more.start("value"), max(done, more.end())
            end = _end(more, found) if more is found or more["value"] else 0
            if not end:
                break
            yield kind, begin, end
            done = end
            several = found.re is _NAMED and (found["list"] or found["word"][-1:] in b"sS")
            quote = _A_QUOTE.match(text, end)
            more = _ANOTHER.match(text, quote.end() if quote else end) if several else None


def _end(at: re.Match[bytes], found: re.Match[bytes]) -> int:
    """Where a value ends: at the quote that closes it, or a space; 0 if it looks like none. `found`: its name."""
    text, begin, value = at.string, at.start("value"), at["value"]
    quote = next((at[each] for each in ("third", "second", "first") if each in at.re.groupindex and at[each]), b"")
    closed = _closing(text, begin, quote) if quote else 0
    if closed:
        value = text[begin : min(begin + len(value), closed)]
    cut = _CUT.match(value)
    core = cut[0].rstrip(b".,:!?|*_") if cut else b""
    behind = text[begin + cut.end() : begin + cut.end() + 1] if cut else b""
    if not closed and behind in (b"(", b"[") and behind and _CALLED.fullmatch(core):
        return 0  # a call
    named_pass = found.re is _COMMAND or found["pass"]
    whole = value.rstrip(b".,:!?|*_")
    # A text without spaces may have a name every few bytes, and each goes over what is behind it.
    if not _likely(found, core[:_JUDGED]) and not (
        named_pass
        and (closed or not re.search(rb"[(){}\[\]<>=]", whole))
        and whole != core
        and _likely(found, whole[:_JUDGED])
    ):
        return 0
    if closed:
        return closed
    end_match = _OPEN_END.match(text, begin, begin + 512)
    end = end_match.end() if end_match else begin + len(core)
    end = max(end, begin + len(core))
    opened = text[max(0, begin - 80) : begin]
    mark = text[begin - 1 : begin]
    while end > begin + len(core):  # what ends a sentence, or closes what was opened before
        last = text[end - 1 : end]
        if (
            last in b".,:;"
            or (mark in (b"*", b"_") and last == mark)
            or (
                last in b")]}>"
                and text[begin:end].count(last) > text[begin:end].count(_OPENS[last])
                and _OPENS[last] in opened
            )
        ):
            end -= 1
        else:
            break
    return end


_OPENS = {b")": b"(", b"]": b"[", b"}": b"{", b">": b"<"}


def _closing(text: bytes, begin: int, quote: bytes) -> int:
    """Where the quote is that closes a value; 0 if nothing does. A quote in it has one more backslash before it."""
    escaped, mark = quote[:-1], quote[-1:]
    at = begin
    while at < min(len(text), begin + 512) and text[at : at + 1] != b"\n":
        if text[at : at + 1] == mark and mark != b'"':
            return at
        if text[at : at + 1] == b'"':
            before = at - len(text[begin:at]) + len(text[begin:at].rstrip(b"\x1e"))
            if at - before <= len(escaped):
                return before if mark == b'"' else 0
        at += 1
    return 0


def _all(text: bytes, word: bytes) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


def names(text: bytes) -> bool:
    """Whether there is a word for a secret."""
    text = text.lower()
    return (
        any(word in text for word in _NAMES)
        or (not text.isascii() and any(word in text for word in _ABROAD))
        or (b"\\u" in text and any(word in text for word in _ABROAD_ESCAPED))
    )


def _names(low: bytes) -> Iterator[bytes]:
    yield from _NAMES
    if not low.isascii():
        yield from _ABROAD


_NAMES = (
    b"key",
    b"token",
    b"pass",
    b"secret",
    b"pwd",
    b"pw",
    b"auth",
    b"bearer",
    b"cred",
    b"sig",
    b"cookie",
    b"kennwort",
    b"senha",
    b"wachtwoord",
    b"mot de passe",
    b"pat=",
    b"pat:",
    b"identified",
    b"sshpass",
    b" -u",
    b"--user",
)
_ABROAD = tuple("contrase пароль Пароль ПАРОЛЬ 密码 密碼 口令 パスワード 비밀번호".encode().split())
_ABROAD_ESCAPED = tuple(json.dumps(word.decode())[1:-1].lower().encode() for word in _ABROAD)
_WORDS = frozenset((b"password", b"pass", b"pwd", b"passwd", b"secret", b"pw", b"token", b"p4ssw0rd", b"port"))


def _varied(value: bytes) -> bool:
    """Whether it is made of many different letters, as random ones are: not xxxx, 0000 or a word that repeats."""
    return len(set(value[-24:])) >= 8 or (len(value) <= 24 and len(set(value)) >= 8)


def _likely(found: re.Match[bytes], value: bytes) -> bool:
    """Whether the value that is named a secret looks like one: random, and no placeholder, path, time or code."""
    if (
        len(value) < 8
        or len(set(value)) < 6
        or _HARMLESS.search(value)
        or is_placeholder(value)
        or _TIME.search(value)
        or _FILE.search(value)
    ):
        return False
    if not any(48 <= code < 58 for code in value) or not re.search(rb"[A-Za-z]", value) or _ADDRESS.match(value):
        return False
    if found.re is _COMMAND:
        return _strong(value)
    begin = found.start("word")
    about = found.string[max(0, begin - 24) : begin]
    weak = found["key"] is not None and not _STRONG.search(about)
    if _PUBLIC.search(about) or (about[-1:].isalpha() and weak):  # a monkey is no key
        return False
    if _UUID.match(value):
        return not weak
    turns = len(_TURN.findall(value))
    if _HEXED.match(value):
        return _entropy(value) >= 3
    if found["pass"]:
        if (
            found["bare"]
            and found.string[found.end("word") :].lstrip()[:1] == b":"
            and not _SPECIAL.search(found["value"])
        ):
            return False  # pass: TestLogin2
        return _strong(value)
    if found["word"].lower() == b"pat" and _BASE32.fullmatch(value):
        return True
    if len(value) < 16 or turns < 3 or turns < 0.12 * len(value) or _entropy(value) < 3.2:
        return False
    return not weak or (
        len(value) >= 20 and re.search(rb"[a-z]", value) is not None and re.search(rb"[A-Z]", value) is not None
    )


def _strong(value: bytes) -> bool:
    """Whether a value looks like a password that somebody or something made up."""
    turns = len(_TURN.findall(value))
    kinds = sum(bool(re.search(each, value)) for each in (rb"[a-z]", rb"[A-Z]", rb"[0-9]", _SPECIAL.pattern))
    if kinds >= 3 and (turns >= 2 or _SPECIAL.search(value)) and _entropy(value) >= 2.5:
        return True
    return len(value) >= 12 and turns >= 3 and _entropy(value) >= 3


_BASE32 = re.compile(rb"[a-z2-7]{52}")


def _entropy(value: bytes) -> float:
    """Bits a byte."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())
